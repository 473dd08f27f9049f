"""Ids out of range: errors that wait until the host reads from the device anyway."""

from __future__ import annotations

from ....backend.arrays import Array, is_cupy
from ....backend.ids import check_ids_later


def watch_ids(function: str, argument: str, ids: Array, size: int) -> None:
    """Raise an error with the next transfer if an id is not in [0, ``size``).

    Arrays of the host, which only the emulator takes, are not watched.
    """
    if is_cupy(ids):
        check_ids_later(function, argument, ids, size)
