"""How many threads the kernels use: the cores this process may really use, chosen in one place."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError


def available_cores() -> int:
    """Cores this process may run on: its CPU affinity, cut to a container's CPU quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs that a Linux control group grants (version 2, then 1), or ``None`` without a limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
        return limit_us / period_us if limit_us > 0 else None
    except (OSError, ValueError):
        return None


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
def _default_threads() -> int:
    for name in ("MINITRAIN_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text:
            if not text.isdecimal() or int(text) < 1:
                if name == "MINITRAIN_NUM_THREADS":
                    raise ConfigError(f"{name}={text!r}: give a whole number of threads, 1 or more")
                continue  # OMP_NUM_THREADS may be a list per nesting level: not ours to judge
            return int(text)
    return available_cores()


def thread_count() -> int:
    """Threads that a kernel splits its work over.

    ``set_threads`` decides, else ``MINITRAIN_NUM_THREADS``, else ``OMP_NUM_THREADS``, else ``available_cores()``.
    The same count gives the same bytes in every run.
    """
    return _chosen if _chosen is not None else _default_threads()


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
