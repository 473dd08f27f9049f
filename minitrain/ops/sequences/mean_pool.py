"""Mean over the tokens of each sequence: one vector for a whole text or image.

Sum and count leave out padding. With ``share`` = 1 / (number of tokens that count) for those tokens and 0 for the
others, ``out = sum_t share[t] x[t]``, and the backward gives each token its share of the gradient.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module, check_array
from ...errors import ShapeError
from ..contract.op import op
from ..contract.sums import sum_over


class MeanPoolCache(NamedTuple):
    """Saved for the backward."""

    share: Array  # (B, T)
    width: int  # C


def _check_padding(x: Array, *, mask: Array | None = None, key_lengths: Array | None = None) -> None:
    B, T, _ = x.shape
    for name, given in (("mask", mask), ("key_lengths", key_lengths)):
        if given is not None:
            check_array(f"mean_pool_forward: {name}", given)
    if mask is not None and (mask.shape != (B, T) or mask.dtype != bool):
        raise ShapeError(
            f"mean_pool_forward: mask must hold {(B, T)} booleans (True = counts), got {mask.dtype} {mask.shape}"
        )
    if key_lengths is not None and (key_lengths.shape != (B,) or key_lengths.dtype.kind not in "iu"):
        raise ShapeError(
            f"mean_pool_forward: key_lengths must hold B = {B} integers, got {key_lengths.dtype} {key_lengths.shape}"
        )


@op("x: B T C", check=_check_padding)
def mean_pool_forward(
    x: Array, *, mask: Array | None = None, key_lengths: Array | None = None
) -> tuple[Array, MeanPoolCache]:
    """Average the tokens that count.

    Args:
        x: (B, T, C) a vector for each token.
        mask: (B, T) boolean, True = counts; ``None`` for all.
        key_lengths: (B,) integers; tokens from this length on do not count.

    Returns:
        out (B, C) and the cache. A sequence without a token that counts gets zeros, and passes no gradient.
    """
    xp, (B, T, _) = array_module(x), x.shape
    counts = xp.ones((B, T), bool) if mask is None else mask
    if key_lengths is not None:
        counts = counts & (xp.arange(T) < key_lengths[:, None])
    number = xp.maximum(counts.sum(axis=1, keepdims=True), 1)  # (B, 1)
    share = (counts / number).astype(x.dtype)
    return sum_over(x * share[..., None], 1), MeanPoolCache(share, x.shape[2])


@op("cache.share: B T; dout: B C")
def mean_pool_backward(dout: Array, cache: MeanPoolCache) -> Array:
    """Gradient of the mean: dout (B, C) to dx (B, T, C)."""
    share, C = cache
    if dout.shape[1] != C:
        raise ShapeError(f"mean_pool_backward: dout has shape {dout.shape}, expected C = {C} as in x")
    return share[..., None] * dout[:, None]
