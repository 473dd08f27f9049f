"""CUDA twins of ``ops.attention.rope``. A head may be a slice of packed queries, keys and values; it is not copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend.arrays import Array, array_module, constant
from ....backend.cuda.launch import Source
from ....backend.targets import Into, Target, check_fits
from ..common.sizes import ceil_div
from ..common.targets import Slot, contiguous, slot

_SOURCE = Source("attention/rope.cu")
_TABLES = _SOURCE.kernel(
    "rope_tables",
    "i8* positions, f8* frequencies?, f4* cosines, f4* sines, i4 rows, i4 half, f8 base, f8 scaling",
)
_ROTATE = _SOURCE.kernel(
    "rope_rotate",
    "f4@ x, f4* cosines, f4* sines, f4@ out, i4 T, i4 H, i4 half, i4 table_rows, i8 x_b, i8 x_t, i8 x_h, i8 out_b, "
    "i8 out_t, i8 out_h, f4 sign, i4 accumulate",
)


def rope_forward(
    x: Array,
    positions: Array,
    *,
    base: float = 10000.0,
    scaling: float = 1.0,
    frequencies: tuple[float, ...] | None = None,
) -> Any:
    """See ``ops.attention.rope.rope_forward``."""
    if x.size == 0:
        return NotImplemented
    xp, half = array_module(x), x.shape[-1] // 2
    cos, sin = (xp.empty((*positions.shape, 1, half), x.dtype) for _ in range(2))
    places = contiguous(positions.astype(np.int64, copy=False))
    given = None if frequencies is None else constant(frequencies, x)
    n = positions.size
    _TABLES(ceil_div(n * half, 128), 128, places, given, cos, sin, n, half, float(base), float(scaling))
    out = xp.empty(x.shape, x.dtype)
    _rotate(heads(x), cos, sin, 1.0, out, 0)
    return out, (cos, sin)


def rope_backward(dout: Array, cache: Any, *, into: tuple[Target, None]) -> Any:
    """See ``ops.attention.rope.rope_backward``."""
    if dout.size == 0:
        return NotImplemented
    dx = heads_slot(into[0], dout)
    if dx.array is not None:
        _rotate(heads(dout), contiguous(cache.cos), contiguous(cache.sin), -1.0, dx.array, dx.accumulate)
    return dx.result(), None


def _rotate(x: Array, cos: Array, sin: Array, sign: float, out: Array, accumulate: int) -> None:
    B, T, H, D = x.shape
    strides = [step // 4 for array in (x, out) for step in array.strides[:3]]
    threads = min(256, 32 * ceil_div(H * D // 2, 32))
    _ROTATE(B * T, threads, x, cos, sin, out, T, H, D // 2, cos.size // (D // 2), *strides, sign, accumulate)


def heads(x: Array) -> Array:
    """(B, T, H, D); a copy only if the elements of a head are no neighbours."""
    return x if x.strides[3] == x.itemsize and min(x.strides) > 0 else contiguous(x)


def heads_slot(target: Target, like: Array) -> Slot:
    """Like ``slot`` for a gradient (B, T, H, D), but a slice of a packed gradient is written to directly."""
    if isinstance(target, Into):
        check_fits(target.buffer, like.shape)
        buffer = target.buffer
        same = type(buffer) is type(like) and buffer.dtype == like.dtype
        if same and buffer.strides[3] == buffer.itemsize and min(buffer.strides) > 0:
            return Slot(buffer, int(target.accumulate), None)
    return slot(target, like.shape, like)
