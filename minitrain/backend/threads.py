"""How many threads the kernels use, chosen in one place: as many as there are cores, unless somebody says otherwise."""

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
    """The number, and what made it so."""
    for name in ("MINITRAIN_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text:
            if not text.isdecimal() or int(text) < 1:
                if name == "MINITRAIN_NUM_THREADS":
                    raise ConfigError(f"{name}={text!r}: give a whole number of threads, 1 or more")
                continue  # OMP_NUM_THREADS may be a list per nesting level: not ours to judge
            return int(text), f"set by {name}"
    return usable_cores().number, "as many as cores; MINITRAIN_NUM_THREADS=N makes it N"


def thread_count() -> int:
    """Threads that a kernel splits its work over.

    ``set_threads`` decides, else ``MINITRAIN_NUM_THREADS``, else ``OMP_NUM_THREADS``, else ``usable_cores()``.
    The count changes no byte of a result.
    """
    return _chosen if _chosen is not None else _default_threads()[0]


def thread_reason() -> str:
    """What made ``thread_count()`` what it is, in a few words."""
    return "set by set_threads" if _chosen is not None else _default_threads()[1]


GRAIN = 1 << 15
"""Elements that are worth a thread: 5 to 30 microseconds of a simple kernel, and waking a thread costs 2 to 50."""


def threads_for(elements: float) -> int:
    """Parts to cut a kernel's work into: ``thread_count()``, or fewer if that leaves less than ``GRAIN`` for each.

    Pass it as the kernel's number of threads. One part runs without waking any other thread, which on a busy machine
    may take longer than the work. The number depends on the size and ``thread_count()`` alone: the same bytes again.

    Args:
        elements: how many array elements a kernel without much arithmetic would go through in the same time. An
            exponential counts 4. A core does about 32 multiply-adds of a matrix product for one: a product of (m, k)
            by (k, n) counts ``m * n * k / 32``.
    """
    return max(1, min(thread_count(), int(elements / GRAIN)))


def set_threads(count: int | None) -> None:
    """Split work into ``count`` parts from now on; ``None`` goes back to the default.

    The pool gets its size when the first kernel runs. A later, higher count shares its threads; a lower one leaves
    some of them idle.

    Raises:
        ConfigError: if ``count`` is less than 1.
    """
    global _chosen
    if count is not None and count < 1:
        raise ConfigError(f"set_threads({count}): give 1 or more, or None for the default")
    _chosen = count
