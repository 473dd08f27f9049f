"""Row lookup: ``out[i] = weight[tokens[i]]``. Backward adds each output gradient to the row it came from.

The row of a padding token is constant: it is looked up like any other, but has no gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module, is_cupy
from ...backend.ids import check_ids_later, outside
from ...errors import ShapeError, TokenError
from ..contract.op import op
from ..contract.sums import flat_rows


class EmbeddingCache(NamedTuple):
    """Saved for the backward."""

    tokens: Array  # (...,) integers
    weight: Array  # (V, C)
    padding_idx: int | None


def _check_padding(tokens: Array, weight: Array, *, padding_idx: int | None = None) -> None:
    if padding_idx is not None and not 0 <= padding_idx < len(weight):
        raise ShapeError(
            f"embedding_forward: padding_idx = {padding_idx} must be one of the rows 0 to V - 1 = {len(weight) - 1}"
        )


@op("tokens: int *N; weight: V C", check=_check_padding)
def embedding_forward(tokens: Array, weight: Array, *, padding_idx: int | None = None) -> tuple[Array, EmbeddingCache]:
    """Look up rows.

    Args:
        tokens: (...,) integers in [0, V).
        weight: (V, C) table.
        padding_idx: a row that gets no gradient.

    Returns:
        out (..., C) and the cache.

    Raises:
        TokenError: if a token is outside the table; negative ids do not count from the end.
    """
    check_ids("embedding_forward", "tokens", tokens, weight.shape[0])
    return weight[tokens], EmbeddingCache(tokens, weight, padding_idx)


@op("cache.tokens: int *N; cache.weight: V C; dout: *N C")
def embedding_backward(dout: Array, cache: EmbeddingCache) -> tuple[None, Array]:
    """Gradients of the lookup: dout (..., C) to ``None`` for the tokens, dweight (V, C)."""
    tokens, weight, padding_idx = cache
    xp = array_module(dout)
    dweight = xp.zeros(weight.shape, xp.float64)  # a row is a sum over all positions of its token: see ``sums``
    xp.add.at(dweight, tokens.reshape(-1), flat_rows(dout).astype(xp.float64))
    if padding_idx is not None:
        dweight[padding_idx] = 0
    return None, dweight.astype(dout.dtype)


def check_ids(function: str, argument: str, ids: Array, size: int) -> None:
    """Raise ``TokenError`` if an id is not in [0, ``size``); it names the first such id.

    On a GPU the error comes with the next transfer to the host, and names one such id: looking now would make the host
    wait in every call.
    """
    if not ids.size:
        return
    if is_cupy(ids):
        check_ids_later(function, argument, ids, size)
    elif int(ids.min()) < 0 or int(ids.max()) >= size:
        raise_bad_id(function, argument, ids, int(np.flatnonzero((ids < 0) | (ids >= size))[0]), size)


def raise_bad_id(function: str, argument: str, ids: Array, flat_index: int, size: int) -> None:
    """Raise the error for the id at ``flat_index``."""
    where = tuple(int(i) for i in np.unravel_index(flat_index, ids.shape))
    raise TokenError(f"{function}: {argument}{list(where)} = {int(ids[where])} {outside(size)}")
