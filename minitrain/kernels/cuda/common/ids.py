"""Ids out of range: errors that wait until the host reads from the device anyway. One launch for each call."""

from __future__ import annotations

from ....backend.arrays import Array, array_module, is_cupy
from ....backend.cuda.launch import Source
from ....backend.ids import check_ids_later, slots_for
from .sizes import ceil_div

_SOURCE = Source("common/ids.cu")
_WATCH = {
    "int32": _SOURCE.kernel("watch_ids<int>", "i4* ids, i8* low, i8* high, i8 n, i8 ignored"),
    "int64": _SOURCE.kernel("watch_ids<long long>", "i8* ids, i8* low, i8* high, i8 n, i8 ignored"),
}


def watch_ids(function: str, argument: str, ids: Array, size: int, *, ignored: int = -(1 << 40)) -> None:
    """Raise an error with the next transfer if an id is not in [0, ``size``).

    Arrays of the host, which only the emulator takes, are not watched.

    Args:
        function: the calling function, for the message.
        argument: the name of the ids, for the message.
        ids: integers.
        size: how many ids there are.
        ignored: an id that may occur although it is out of range.
    """
    if not is_cupy(ids) or not ids.size:
        return
    if ids.dtype.name not in _WATCH or not ids.flags.c_contiguous:
        check_ids_later(function, argument, array_module(ids).where(ids != ignored, ids, 0), size)
        return
    low, high = slots_for(function, argument, ids, size)
    _WATCH[ids.dtype.name](1, min(1024, 32 * ceil_div(ids.size, 32)), ids, low, high, ids.size, ignored)
