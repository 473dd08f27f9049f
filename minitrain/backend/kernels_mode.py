"""Whether fast kernels may stand in for the readable reference code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError

MODES = ("auto", "reference")


def _from_environment() -> str:
    mode = os.environ.get("MINITRAIN_KERNELS", "auto")
    if mode not in MODES:
        raise ConfigError(f"MINITRAIN_KERNELS={mode!r}: use 'auto' (fast kernels) or 'reference' (readable code)")
    return mode


_mode = _from_environment()
_forked = False


def _after_fork_in_child() -> None:
    # GNU OpenMP aborts a forked child that enters a parallel region; the reference code is safe there.
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def kernels_mode() -> str:
    """``"auto"`` (kernel twins where they fit) or ``"reference"`` (the array code of ``ops`` alone)."""
    return _mode


def kernels_enabled() -> bool:
    """Whether an operation may call its kernel twin. False in forked children, where OpenMP may not run."""
    return _mode == "auto" and not _forked


@contextmanager
def use_kernels(mode: str) -> Iterator[None]:
    """Force ``"reference"`` or ``"auto"`` inside a ``with`` block.

    Raises:
        ConfigError: if ``mode`` is neither.
    """
    global _mode
    if mode not in MODES:
        raise ConfigError(f"use_kernels({mode!r}): use 'auto' or 'reference'")
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before
