"""Arrays of heads (B, T, H, D) as the kernels of attention read and write them: an address and three strides."""

from __future__ import annotations

import numpy as np

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import address_of
from ....backend.targets import Into, Skip, Target, check_fits
from ..common.targets import Slot

ALIGNMENT = 16
"""Bytes that a thread copies at once; rows begin at multiples of it."""


def heads_slot(target: Target, like: Array) -> Slot:
    """The slot for a gradient of the shape of ``like``. A slice of a packed gradient is written to directly."""
    if isinstance(target, Skip):
        return Slot(None, 0, target)
    if isinstance(target, Into):
        check_fits(target.buffer, like.shape)
        if type(target.buffer) is type(like) and _is_writable(target.buffer):
            return Slot(target.buffer, int(target.accumulate), None)
    return Slot(array_module(like).empty(like.shape, "f4"), 0, target)


def aligned(x: Array) -> Array:
    """``x`` (B, T, H, D), if its rows begin at multiples of 16 bytes and fill them up; otherwise a copy that does.

    The rows of a copy are padded with zeros, so its last axis may be longer.
    """
    if _is_aligned(x):
        return x
    lanes = ALIGNMENT // x.dtype.itemsize
    *lead, d = x.shape
    padded = -(-d // lanes) * lanes
    xp = array_module(x)
    rows: Array = (xp.empty if padded == d else xp.zeros)((*lead, padded), x.dtype)
    rows[..., :d] = x
    return rows


def strided(x: Array) -> tuple[Array, int, int, int]:
    """``x`` (B, T, H, D), and its strides of B, T and H in elements: four arguments of a kernel."""
    batch, row, head, _ = (stride // x.dtype.itemsize for stride in x.strides)
    return x, batch, row, head


def _is_aligned(x: Array) -> bool:
    apart = (stride for stride, n in zip(x.strides[:3], x.shape, strict=False) if n > 1)
    full = x.shape[3] * x.dtype.itemsize % ALIGNMENT == 0 and _is_row(x)
    return full and address_of(x) % ALIGNMENT == 0 and all(s >= 0 and s % ALIGNMENT == 0 for s in apart)


def _is_writable(buffer: Array) -> bool:
    """Whether a kernel can write to a buffer in place: no two of its elements share memory."""
    axes = sorted((stride, n) for stride, n in zip(buffer.strides[:3], buffer.shape, strict=False) if n > 1)
    size = 4 * buffer.shape[3]
    for stride, n in axes:
        if stride < size or stride % 4:
            return False
        size = stride * (n - 1) + size
    return bool(buffer.dtype == np.float32) and _is_row(buffer)


def _is_row(x: Array) -> bool:
    return bool(x.shape[3] <= 1 or x.strides[3] == x.dtype.itemsize)
