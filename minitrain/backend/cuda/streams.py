"""Streams: work on one runs in order, work on two may run at once. Two are used: one computes, one copies.

Computations run on CuPy's current stream. The stream for copies does not wait for it and is not waited for
(``non_blocking``), so whatever needs an order says so with an event.
"""

from __future__ import annotations

import threading
from typing import Any

_LOCAL = threading.local()


def copy_stream(xp: Any) -> Any:
    """The stream of this thread on which copies to and from the current GPU run.

    Args:
        xp: CuPy.
    """
    streams: dict[tuple[int, int], Any] = _LOCAL.__dict__.setdefault("streams", {})
    place = (id(xp), int(xp.cuda.runtime.getDevice()))
    if place not in streams:
        streams[place] = xp.cuda.Stream(non_blocking=True)
    return streams[place]
