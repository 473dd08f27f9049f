"""Page faults: how often a process touched memory that the operating system had to give it first."""

from __future__ import annotations


def page_faults() -> int | None:
    """Page faults of this process so far that needed no disk, of all threads; ``None`` where nobody counts them."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
