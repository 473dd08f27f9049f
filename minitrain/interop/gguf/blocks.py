"""The types of arrays in GGUF: numbers, and blocks of 32 numbers that share a scale.

====  ======================================================================================
Q8_0  scale d as float16, 32 signed bytes q: ``d q``
Q4_0  scale d, 16 bytes of two values each (the lower halves come first): ``d (q - 8)``
Q4_1  scale d, minimum m, 16 bytes: ``d q + m``
Q5_0  scale d, 32 fifth bits, 16 bytes: ``d (q - 16)``
Q5_1  scale d, minimum m, 32 fifth bits, 16 bytes: ``d q + m``
====  ======================================================================================

All blocks of an array are unpacked at once. Other types go through the ``gguf`` package. The results have the same bits
as that package's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...errors import CheckpointError
from ..tensor_files import bfloat16

F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, BF16 = 0, 1, 2, 3, 6, 7, 8, 30
BLOCK = 32
PIECE = 4096
"""Blocks that are unpacked at once: their numbers stay in the processor's cache."""
_SIZES = {F32: (1, 4), F16: (1, 2), BF16: (1, 2), Q4_0: (32, 18), Q4_1: (32, 20)}
_SIZES |= {Q5_0: (32, 22), Q5_1: (32, 24), Q8_0: (32, 34)}
_OTHERS = {10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66)}
_OTHERS |= {17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136)}
_OTHERS |= {29: (256, 56), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18)}
"""Types that the ``gguf`` package unpacks: elements and bytes of a block."""


def block_of(kind: int) -> tuple[int, int]:
    """Elements and bytes of a block of a type.

    Raises:
        KeyError: if the type is unknown.
    """
    return _SIZES[kind] if kind in _SIZES else _OTHERS[kind]


def dequantize(raw: Array, kind: int, what: str) -> Array:
    """The numbers of an array.

    Args:
        raw: (n,) uint8, whole blocks.
        kind: its type.
        what: the array, for messages.

    Returns:
        (N,) float32.

    Raises:
        CheckpointError: if the type needs the ``gguf`` package, and it is not there.
    """
    if kind == F32:
        return raw.view(np.dtype("<f4")).astype(np.float32, copy=False)
    if kind == F16:
        return raw.view(np.dtype("<f2")).astype(np.float32)
    if kind == BF16:
        wide = raw.view(np.dtype("<u2")).astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if kind in _UNPACK:
        blocks = raw.reshape(-1, block_of(kind)[1])
        out = np.empty((len(blocks), BLOCK), np.float32)
        for start in range(0, len(blocks), PIECE):
            out[start : start + PIECE] = _UNPACK[kind](blocks[start : start + PIECE])
        return out.reshape(-1)
    return _by_package(raw, kind, what)


def _by_package(raw: Array, kind: int, what: str) -> Array:
    try:
        from gguf import GGMLQuantizationType, dequantize
    except ImportError:
        raise CheckpointError(
            f"{what} has a type that the package gguf unpacks: install it with pip install 'minitrain[gguf]'"
        ) from None
    try:
        numbers = dequantize(raw.reshape(-1, block_of(kind)[1]), GGMLQuantizationType(kind))
    except (NotImplementedError, ValueError):
        raise CheckpointError(f"{what} has the type {kind}, which the package gguf here cannot unpack") from None
    return np.asarray(numbers, np.float32).reshape(-1)


def _half(blocks: Array, start: int) -> Array:
    """(N, 1) float32 from the two bytes at ``start`` of each block."""
    return blocks[:, start : start + 2].copy().view(np.dtype("<f2")).astype(np.float32)


def _nibbles(packed: Array) -> Array:
    """(N, 32) uint8: the lower halves of 16 bytes, then the upper ones."""
    values = np.empty((len(packed), 32), np.uint8)
    np.bitwise_and(packed, 15, out=values[:, :16])
    np.right_shift(packed, 4, out=values[:, 16:])
    return values


def _fifth_bits(packed: Array) -> Array:
    """(N, 32) uint8, 0 or 16: the bits of 4 bytes, the lowest first."""
    return np.unpackbits(packed, axis=1, bitorder="little") << 4


def _q8_0(blocks: Array) -> Array:
    values = blocks[:, 2:].view(np.int8).astype(np.float32)
    values *= _half(blocks, 0)
    return values


def _q4_0(blocks: Array) -> Array:
    values = _nibbles(blocks[:, 2:]).astype(np.float32)
    values -= 8
    values *= _half(blocks, 0)
    return values


def _q4_1(blocks: Array) -> Array:
    values = _nibbles(blocks[:, 4:]).astype(np.float32)
    values *= _half(blocks, 0)
    values += _half(blocks, 2)
    return values


def _q5_0(blocks: Array) -> Array:
    values = (_nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])).astype(np.float32)
    values -= 16
    values *= _half(blocks, 0)
    return values


def _q5_1(blocks: Array) -> Array:
    values = (_nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])).astype(np.float32)
    values *= _half(blocks, 0)
    values += _half(blocks, 2)
    return values


_UNPACK: dict[int, Callable[[Array], Any]] = {Q8_0: _q8_0, Q4_0: _q4_0, Q4_1: _q4_1, Q5_0: _q5_0, Q5_1: _q5_1}


def quantize_q8_0(array: Array) -> Array:
    """An array (..., n 32) of float32 as blocks of Q8_0: (..., n, 34) uint8.

    Each block's scale is its largest magnitude divided by 127; halves round away from zero, as in llama.cpp.
    """
    blocks = array.reshape(*array.shape[:-1], -1, BLOCK).astype(np.float32, copy=False)
    scale = abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), 1 / scale).astype(np.float32)
    scaled = blocks * inverse
    whole = np.floor(abs(scaled))
    whole += np.floor(2 * (abs(scaled) - whole))
    values = np.copysign(whole, scaled).astype(np.int8)
    out = np.empty((*blocks.shape[:-1], 34), np.uint8)
    out[..., :2] = scale.astype(np.dtype("<f2")).view(np.uint8)
    out[..., 2:] = values.view(np.uint8)
    return out


def packed(array: Array, kind: int) -> Array:
    """The bytes of a float32 array in a type that is written: F32, F16, BF16 or Q8_0."""
    if kind == Q8_0:
        return quantize_q8_0(array)
    dtypes: dict[int, Any] = {F32: np.dtype("<f4"), F16: np.dtype("<f2"), BF16: bfloat16()}
    return np.ascontiguousarray(array.astype(dtypes[kind], copy=False)).view(np.uint8)
