"""The memory that this process has taken from the system, and its page faults."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def peak_memory() -> int | None:
    """The peak memory of this process so far, in bytes; ``None`` where the system does not report it."""
    used = _usage()
    if used is None:
        return None
    try:
        # Not getrusage on Linux: its maximum starts from what the parent held at the fork.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    return int(used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024)  # the others count in KiB


def available_memory() -> int | None:
    """Bytes that this process may still take: of the machine, or of its container if that has less."""
    free = None
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit.isdecimal():
            free = int(limit) - used if free is None else min(free, int(limit) - used)
    except (OSError, ValueError):
        pass
    if free is None and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free


def page_faults() -> int | None:
    """Page faults of this process without disk access: accesses to memory that the system had to provide first.

    ``None`` where the system does not report them.
    """
    used = _usage()
    return None if used is None else int(used.ru_minflt)


def _usage() -> Any:
    """The resource usage of this process; ``None`` where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF)
