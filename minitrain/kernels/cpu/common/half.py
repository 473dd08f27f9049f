"""Operands of bfloat16 products on a processor without units for them: rounded numbers, multiplied as float32.

A bfloat16 number is a float32 whose lower 16 bits are zero. So a product of rounded operands can run on the float32
kernels, and sums are float32 as the policy wants (``backend/precision.py``). An operand has two forms here: what a
cache keeps (bfloat16), and the *factor* that is multiplied (float32, for the time of one call).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import device, kernel
from ....backend.pool import empty
from ....backend.precision import HALF, current_precision, half_dtype
from ....backend.threads import threads_for
from .math import aligned_chunk

_NOTHING, _NOTHING_HALF = np.empty(0, np.float32), np.empty(0, np.uint16)
_NO_ROWS = _NOTHING_HALF.reshape(0, 0)


def covered(*operands: Array) -> bool:
    """Whether the kernels can multiply these: float16 is left to the reference code."""
    if current_precision() == "float16" and any(x.dtype == np.float32 for x in operands):
        return False
    return all(x.dtype == np.float32 or x.dtype.name == "bfloat16" for x in operands)


def in_half(kept: Array) -> bool:
    """Whether a kept operand is bfloat16, so that the backward rounds what it multiplies with it."""
    return bool(kept.dtype != np.float32)


def to_keep(x: Array) -> Array:
    """What the cache keeps of an operand."""
    return narrow(x) if current_precision() in HALF else x


def keep(x: Array) -> tuple[Array, Array]:
    """What the cache keeps of an operand, and the factor. In float32 both are ``x`` itself."""
    if in_half(x):
        return x, factor(x)
    if current_precision() not in HALF:
        return x, x
    kept, rounded = empty(x.shape, np.uint16), empty(x.shape)
    _round(x.ravel(), kept.reshape(-1), rounded.reshape(-1), threads_for(x.size))
    return kept.view(half_dtype("bfloat16")), rounded


def factor(x: Array, half: bool | None = None) -> Array:
    """An operand as float32 numbers.

    Args:
        x: float32 or bfloat16.
        half: whether float32 numbers are rounded to bfloat16; by default the policy decides.
    """
    if in_half(x):
        wide = empty(x.shape)
        _widen(x.view(np.uint16).ravel(), wide.reshape(-1), threads_for(x.size))
        return wide
    if not (current_precision() in HALF if half is None else half):
        return x
    rounded = empty(x.shape)
    _round(x.ravel(), _NOTHING_HALF, rounded.reshape(-1), threads_for(x.size))
    return rounded


def two_forms(x: Array) -> tuple[Array, Array]:
    """A kept operand for a kernel that takes either form: its float32 numbers, and its bfloat16 bits; one is empty."""
    return (np.empty((0, *x.shape[1:]), np.float32), x.view(np.uint16)) if in_half(x) else (x, _NO_ROWS)


def narrow(x: Array) -> Array:
    """``x`` rounded to bfloat16, unless it is that already."""
    if in_half(x):
        return x
    kept = empty(x.shape, np.uint16)
    _round(x.ravel(), kept.reshape(-1), _NOTHING, threads_for(x.size))
    return kept.view(half_dtype("bfloat16"))


@device
def _rounded_bits(bits):
    """The bits of a float32 with the lower 16 rounded away, to nearest and ties to even; NaN stays NaN."""
    up = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return ((bits | np.uint32(0x400000)) if nan else up) & np.uint32(0xFFFF0000)


@device
def round_row(x):
    """Round ``x`` (n,), contiguous, to bfloat16 in place."""
    bits = x.view(np.uint32)
    for i in range(bits.size):
        bits[i] = _rounded_bits(bits[i])


@device
def load_row(x, wide):
    """Wide (n,) = the bfloat16 numbers ``x`` (n,), given as their 16 bits."""
    bits = wide.view(np.uint32)
    for i in range(x.size):
        bits[i] = np.uint32(x[i]) << np.uint32(16)


@kernel("void(f4[::1], u2[::1], f4[::1], i8)")
def _round(x, kept, rounded, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(x.size, t, threads)
        bits = x[lo:hi].view(np.uint32)
        if kept.size:
            k = kept[lo:hi]
            for i in range(bits.size):
                k[i] = np.uint16(_rounded_bits(bits[i]) >> np.uint32(16))
        if rounded.size:
            r = rounded[lo:hi].view(np.uint32)
            for i in range(bits.size):
                r[i] = _rounded_bits(bits[i])


@kernel("void(u2[::1], f4[::1], i8)")
def _widen(x, wide, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(x.size, t, threads)
        load_row(x[lo:hi], wide[lo:hi])
