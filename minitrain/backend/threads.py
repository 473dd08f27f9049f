"""The number of threads that kernels use, chosen in one place: one per usable core, unless set otherwise."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError
from .cores import usable_cores


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a library that reads it within the ``with`` block, and no longer."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


_chosen: int | None = None


@functools.cache
def _default_threads() -> tuple[int, str]:
    """The default number of threads, and the reason for it."""
    for name in ("MINITRAIN_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text:
            if not text.isdecimal() or int(text) < 1:
                if name == "MINITRAIN_NUM_THREADS":
                    raise ConfigError(f"{name}={text!r}: give a whole number of threads, 1 or more")
                continue  # OMP_NUM_THREADS may be a list, one entry per nesting level: ignored
            return int(text), f"set by {name}"
    return usable_cores().number, "as many as cores; MINITRAIN_NUM_THREADS=N makes it N"


def thread_count() -> int:
    """The number of threads that a kernel splits its work over.

    It comes from ``set_threads``, else ``MINITRAIN_NUM_THREADS``, else ``OMP_NUM_THREADS``, else ``usable_cores()``.
    It changes no byte of a result.
    """
    return _chosen if _chosen is not None else _default_threads()[0]


def thread_reason() -> str:
    """Why ``thread_count()`` has its value, in a few words."""
    return "set by set_threads" if _chosen is not None else _default_threads()[1]


GRAIN = 1 << 15
"""Fewest elements for a thread of its own: 5 to 30 microseconds of a simple kernel; waking a thread costs 2 to 50."""


def threads_for(elements: float) -> int:
    """How many parts to split a kernel's work into: ``thread_count()``, or fewer so that each has ``GRAIN`` elements.

    Pass it as the kernel's number of threads. A single part runs without waking other threads, which may take longer
    than the work on a busy machine. The number depends on the size and ``thread_count()`` alone, so results repeat.

    Args:
        elements: the size of the work, in elements of a kernel with little arithmetic. An exponential counts as 4. In
            the time of one element, a core does about 32 multiply-adds of a matrix product: a product of (m, k) by
            (k, n) counts as ``m * n * k / 32``.
    """
    return max(1, min(thread_count(), int(elements / GRAIN)))


def set_threads(count: int | None) -> None:
    """Split work into ``count`` parts from now on; ``None`` restores the default.

    The pool gets its size when the first kernel runs. With a higher count later, parts share threads; with a lower one,
    some threads stay idle.

    Raises:
        ConfigError: if ``count`` is less than 1.
    """
    global _chosen
    if count is not None and count < 1:
        raise ConfigError(f"set_threads({count}): give 1 or more, or None for the default")
    _chosen = count
