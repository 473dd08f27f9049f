"""Ids out of range on a GPU: the error comes with the next transfer to the host, see `minitrain.backend.deferred`."""

from __future__ import annotations

from ..errors import TokenError
from .arrays import Array, array_module
from .deferred import watch


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

    def error(number: int) -> TokenError:
        return TokenError(f"{function}: {argument} has {number}, which {outside(size)}")

    low, high = -ids.min().astype(xp.int64), ids.max().astype(xp.int64)
    watch(xp, (function, argument, "low"), low, 0, lambda value: error(-value))
    watch(xp, (function, argument, size), high, size - 1, error)
