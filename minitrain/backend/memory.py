"""How much memory this process has taken from the system, and how often it had to wait for some."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; ``None`` where the system does not tell."""
    used = _usage()
    if used is None:
        return None
    try:
        # Rather than getrusage on Linux: its maximum begins with what the parent held at the fork.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    return int(used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024)  # the others count in KiB


def page_faults() -> int | None:
    """How often a thread of this process touched memory that the system had to give it first.

    Faults that waited for a disk do not count. ``None`` where the system does not tell.
    """
    used = _usage()
    return None if used is None else int(used.ru_minflt)


def _usage() -> Any:
    """What the system has counted for this process; ``None`` where it does not."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF)
