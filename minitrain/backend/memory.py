"""How much memory this process has taken from the system."""

from __future__ import annotations

import sys


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; ``None`` where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the others count in KiB
