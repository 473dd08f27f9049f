"""Ids out of range on a GPU: the error comes with the next transfer to the host, see `minitrain.backend.deferred`."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import TokenError
from .arrays import Array, array_module
from .deferred import slot, watch


def outside(size: int) -> str:
    """The end of a message about an id that is not in [0, ``size``)."""
    return (
        f"is outside [0, {size}), as there are {size} ids or classes: the data has another vocabulary or other labels, "
        "or the model was built with too few"
    )


def check_ids_later(function: str, argument: str, ids: Array, size: int) -> None:
    """Remember the lowest and the highest id on the GPU.

    Args:
        function: the calling function, for the message.
        argument: the name of the ids, for the message.
        ids: integers on a GPU, one or more.
        size: how many ids there are.
    """
    xp = array_module(ids)
    (below, above), (first, second) = _errors(function, argument, size), _keys(function, argument, size)
    watch(xp, first, -ids.min().astype(xp.int64), 0, below)
    watch(xp, second, ids.max().astype(xp.int64), size - 1, above)


def slots_for(function: str, argument: str, ids: Array, size: int) -> tuple[Array, Array]:
    """Where a kernel keeps the largest ``-id`` and ``id`` of `check_ids_later`: two arrays (1,) of int64."""
    xp = array_module(ids)
    (below, above), (first, second) = _errors(function, argument, size), _keys(function, argument, size)
    return slot(xp, first, 0, below), slot(xp, second, size - 1, above)


def _keys(function: str, argument: str, size: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
    return (function, argument, "low", size), (function, argument, "high", size)


def _errors(function: str, argument: str, size: int) -> tuple[Callable[[int], TokenError], Callable[[int], TokenError]]:
    def error(number: int) -> TokenError:
        return TokenError(f"{function}: {argument} has {number}, which {outside(size)}")

    return lambda value: error(-value), error
