"""From a sequence of vectors to one: the mean over the positions that are no padding, or the first."""

from __future__ import annotations

from typing import NamedTuple

from ..backend.arrays import Array, array_module

POOLINGS = ("mean", "first")


class PoolCache(NamedTuple):
    """What the backward needs."""

    kind: str
    share: Array  # (B, T, 1) how much of each position is in the pooled vector


def pool_forward(x: Array, kind: str, lengths: Array | None = None) -> tuple[Array, PoolCache]:
    """Map x (B, T, C) to (B, C).

    Args:
        x: (B, T, C) the sequence.
        kind: ``"mean"`` or ``"first"``.
        lengths: (B,) integers; positions from this length on are padding. The mean over none of them is 0.
    """
    xp, (B, T, _) = array_module(x), x.shape
    if kind == "first":
        share = xp.broadcast_to(xp.arange(T) == 0, (B, T)).astype(x.dtype)
    elif lengths is None:
        share = xp.full((B, T), 1 / T, x.dtype)
    else:
        share = ((xp.arange(T) < lengths[:, None]) / xp.maximum(lengths, 1)[:, None]).astype(x.dtype)
    share = share[..., None]  # (B, T) -> (B, T, 1)
    return (x * share).sum(axis=1), PoolCache(kind, share)


def pool_backward(dout: Array, cache: PoolCache) -> Array:
    """Map dout (B, C) to dx (B, T, C)."""
    return dout[:, None, :] * cache.share
