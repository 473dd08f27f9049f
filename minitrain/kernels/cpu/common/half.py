"""Operands of bfloat16 products: what a cache keeps of them, and what a kernel multiplies.

A cache keeps an operand as bfloat16. The *factor* is what a kernel multiplies for the time of one call. Where the
processor has units for bfloat16 (``bf16_units`` in ``backend``), it is the same 16 bits. Elsewhere it is float32: a
bfloat16 number is a float32 whose lower 16 bits are zero, so rounded numbers can run on the float32 kernels. Sums are
float32 in both, as the policy wants (``backend/precision.py``).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import device, kernel
from ....backend.pool import empty
from ....backend.precision import HALF, half_dtype, operand_precision
from ....backend.threads import threads_for
from .gemm import takes_halves
from .math import aligned_chunk
from .targets import NO_ROWS

_NOTHING, _NOTHING_HALF = np.empty(0, np.float32), np.empty(0, np.uint16)
_NO_ROWS = _NOTHING_HALF.reshape(0, 0)


def covered(*operands: Array) -> bool:
    """Whether the kernels can multiply these: float16 is left to the reference code."""
    if operand_precision() == "float16" and any(x.dtype == np.float32 for x in operands):
        return False
    return all(x.dtype == np.float32 or x.dtype.name == "bfloat16" for x in operands)


def in_half(kept: Array) -> bool:
    """Whether a kept operand is bfloat16, so that the backward rounds what it multiplies with it."""
    return bool(kept.dtype != np.float32)


def to_keep(x: Array) -> Array:
    """The operand as the cache keeps it."""
    return narrow(x) if operand_precision() in HALF else x


def keep(x: Array) -> tuple[Array, Array]:
    """The operand as the cache keeps it, and the factor. In float32 both are ``x`` itself."""
    if in_half(x):
        return x, factor(x)
    if operand_precision() not in HALF:
        return x, x
    if takes_halves():
        kept = narrow(x)
        return kept, kept.view(np.uint16)
    kept, rounded = empty(x.shape, np.uint16), empty(x.shape)
    _round(x.ravel(), kept.reshape(-1), rounded.reshape(-1), threads_for(x.size))
    return kept.view(half_dtype("bfloat16")), rounded


def factor(x: Array, half: bool | None = None) -> Array:
    """The factor of an operand: float32 numbers, or the bits of bfloat16 numbers (uint16).

    Args:
        x: float32 or bfloat16.
        half: whether the product is one of bfloat16 numbers, so that float32 numbers are rounded. By default the
            policy decides. Factors of one product need the same answer.
    """
    half = operand_precision() in HALF if half is None else half
    if half and takes_halves():
        return narrow(x).view(np.uint16)
    if in_half(x):
        return widen(x)
    if not half:
        return x
    rounded = empty(x.shape)
    _round(x.ravel(), _NOTHING_HALF, rounded.reshape(-1), threads_for(x.size))
    return rounded


def widen(x: Array) -> Array:
    """``x`` as float32 numbers."""
    if not in_half(x):
        return x
    wide = empty(x.shape)
    _widen(x.view(np.uint16).ravel(), wide.reshape(-1), threads_for(x.size))
    return wide


def two_forms(x: Array) -> tuple[Array, Array]:
    """A kept operand for a kernel that takes either form: its float32 numbers, and its bfloat16 bits; one is empty."""
    return (np.empty((0, *x.shape[1:]), np.float32), x.view(np.uint16)) if in_half(x) else (x, _NO_ROWS)


def no_rows(half: bool) -> Array:
    """A factor of a product that is not wanted: an empty matrix in the form of the others."""
    return _NO_ROWS if half and takes_halves() else NO_ROWS


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
def store_rounded(x, out):
    """Out (n,) = ``x`` (n,) rounded to bfloat16: its 16 bits, or float32 numbers. Both are contiguous."""
    words = x.view(np.uint32)
    if out.itemsize == 2:
        bits = out.view(np.uint16)
        for i in range(words.size):
            bits[i] = np.uint16(_rounded_bits(words[i]) >> np.uint32(16))
    else:
        wide = out.view(np.uint32)
        for i in range(words.size):
            wide[i] = _rounded_bits(words[i])


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
        if kept.size:
            store_rounded(x[lo:hi], kept[lo:hi])
        if rounded.size:
            store_rounded(x[lo:hi], rounded[lo:hi])


@kernel("void(u2[::1], f4[::1], i8)")
def _widen(x, wide, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(x.size, t, threads)
        load_row(x[lo:hi], wide[lo:hi])
