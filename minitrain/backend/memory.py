"""How much memory this process has taken from the system."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; ``None`` where the system does not tell."""
    try:
        # Not getrusage on Linux: its maximum begins with what the parent held at the fork.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the others count in KiB


def page_faults() -> int | None:
    """How often this process has touched a page it did not have yet; ``None`` where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
