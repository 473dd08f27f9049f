"""Streams: work on one runs in order, work on two may run at once. Of three, one computes, one copies, one exchanges.

Computations run on CuPy's current stream. The streams beside it do not wait for it and are not waited for
(``non_blocking``), so whatever needs an order says so with an event.
"""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

_LOCAL = threading.local()


def copy_stream(xp: Any) -> Any:
    """The stream of this thread on which copies to and from the current GPU run.

    Args:
        xp: CuPy.
    """
    return _stream(xp, "copies")


def exchange_stream(xp: Any) -> Any:
    """The stream of this thread on which ranks exchange arrays of the current GPU while it computes.

    Args:
        xp: CuPy.
    """
    return _stream(xp, "exchanges")


def _stream(xp: Any, purpose: str) -> Any:
    # By the module itself: another one may get the address of one that is gone, as emulated devices do.
    streams: MutableMapping[Any, dict[tuple[str, int], Any]] = _LOCAL.__dict__.setdefault(
        "streams", WeakKeyDictionary()
    )
    place = purpose, int(xp.cuda.runtime.getDevice())
    of_module = streams.setdefault(xp, {})
    if place not in of_module:
        of_module[place] = xp.cuda.Stream(non_blocking=True)
    return of_module[place]
