"""Writing the most likely token again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backend.arrays import Array, to_numpy


def write_greedily(
    xp: Any, scores_after: Callable[[Array], Array], batch: int, *, start: int, end: int | None, pad: int, most: int
) -> Array:
    """The most likely token up to the end token, for each row of a batch.

    Args:
        xp: NumPy or CuPy.
        scores_after: maps the last tokens (B,) int32 to the scores (B, V) of the next ones.
        batch: number B of rows.
        start: the token that a row begins with.
        end: the token that ends a row; the rest of it is padding. ``None`` if there is none.
        pad: the id of padding, which comes only after the end.
        most: largest number of tokens to write.

    Returns:
        (B, 1 + n) int32 with n at most ``most``: the start token and the written ones.
    """
    columns = [xp.full(batch, start, dtype=xp.int32)]
    done = xp.zeros(batch, dtype=bool)
    while len(columns) <= most and not to_numpy(done.all()):
        scores = scores_after(columns[-1])
        scores[:, pad] = -xp.inf
        columns.append(xp.where(done, pad, scores.argmax(axis=-1)).astype(xp.int32))
        if end is not None:
            done |= columns[-1] == end
    return xp.stack(columns, axis=1)  # type: ignore[no-any-return]
