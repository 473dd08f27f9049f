"""Numbers of 8 bits as operands of products: two formats, and one scale for a whole array.

Forward operands are e4m3 (4 bits of exponent, 3 of fraction) and gradients e5m2, after Micikevicius et al., FP8 Formats
for Deep Learning, 2022, arXiv:2209.05433. An array is divided by its scale, rounded to nearest with ties to even, and
multiplied by the scale again, by whoever multiplies it.

The scale comes from the array's own largest magnitude, so there is no state to save, and no step that has not seen its
numbers yet. It is a power of two, and dividing by it is exact. So how a number is rounded does not depend on its array,
unless it is some thousand times smaller than the largest there and loses digits at the lower end of the format.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, array_module
from ..precision import changed, current_precision


class Float8Format(NamedTuple):
    """A format of 8 bits: sign, exponent, fraction.

    Attributes:
        name: of the format.
        digits: bits of the fraction.
        bias: of the exponent. Numbers below 2 ** (1 - bias) have equal distances.
        top: exponent of the largest number, which is 1.75 * 2 ** top in both formats.
    """

    name: str
    digits: int
    bias: int
    top: int

    @property
    def largest(self) -> float:
        """The largest number."""
        return 1.75 * 2.0**self.top


E4M3 = Float8Format("float8_e4m3", 3, 7, 8)
"""From 2 ** -9 to 448, without infinity: for activations and weights."""
E5M2 = Float8Format("float8_e5m2", 2, 15, 15)
"""From 2 ** -16 to 57,344: for gradients."""
MULTIPLE = 16
"""Widths that cuBLASLt multiplies in 8 bits are multiples of it."""
LEAST_EXPONENT = -62
"""Of a scale: two of them multiply to a float32 number that is not subnormal."""
_THREE_QUARTERS = 0x600000  # the fraction of 1.75 in a float32
_INFINITY = 0x7F800000


@functools.cache
def float8_dtype(name: str) -> np.dtype[Any]:
    """The dtype of a format, of the package ml_dtypes: NumPy has none. On a GPU, arrays hold the bits as uint8."""
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.float8_e4m3fn if name == E4M3.name else ml_dtypes.float8_e5m2)
    return found


def takes_float8(x: Array, weight: Array) -> bool:
    """Whether the policy in force multiplies x (..., K) by weight (N, K) in 8 bits: float32, and widths that fit."""
    fits = x.dtype == weight.dtype == np.float32 and x.size > 0 and weight.size > 0
    return current_precision() == "float8" and fits and not any(size % MULTIPLE for size in weight.shape)


def float8_scale(x: Array, form: Float8Format) -> Array:
    """The scale of an array: the least power of two that brings all its numbers into the range of a format.

    Args:
        x: float32 array of any shape, not empty.
        form: the format.

    Returns:
        () float32, from 2 ** -62 on; NaN if ``x`` has an infinity or a NaN.
    """
    xp = array_module(x)
    bits = xp.abs(x).reshape(-1).max(keepdims=True).astype(np.float32).view(np.int32)  # (1,)
    exponent = (bits >> 23) - 127 - form.top + ((bits & 0x7FFFFF) > _THREE_QUARTERS)
    scale = xp.ldexp(xp.float32(1), xp.maximum(exponent, LEAST_EXPONENT).astype(np.int32))
    return xp.where(bits >= _INFINITY, xp.float32(np.nan), scale).astype(np.float32).reshape(())  # type: ignore[no-any-return]


def to_float8(x: Array, scale: Array, form: Float8Format) -> Array:
    """The numbers of ``x`` rounded to a format, as float32: each is ``scale`` times a number of the format.

    Args:
        x: float32 array.
        scale: () float32, a power of two.
        form: the format. Numbers beyond its range become its largest; NaN stays NaN.
    """
    xp = array_module(x)
    x = changed(x / scale, float8_dtype(form.name))
    magnitude = xp.minimum(xp.abs(x), xp.float32(form.largest))
    exponent = xp.maximum((magnitude.view(np.int32) >> 23) - 127, 1 - form.bias)  # of the format's smallest numbers too
    steps = xp.rint(xp.ldexp(magnitude, form.digits - exponent))
    return xp.copysign(xp.ldexp(steps, exponent - form.digits), x) * scale  # type: ignore[no-any-return]


def float8_values(codes: Array, form: Float8Format) -> Array:
    """The numbers that bits stand for, in float32 and without their scale: finite ones, and NaN for 0x7f."""
    xp = array_module(codes)
    codes = codes.astype(np.int32)
    field, fraction = codes >> form.digits & (127 >> form.digits), codes & ((1 << form.digits) - 1)
    steps = fraction + ((field > 0) << form.digits)
    magnitude = xp.ldexp(steps.astype(np.float32), xp.maximum(field, 1) - form.bias - form.digits)
    return xp.where(codes & 127 == 127, xp.float32(np.nan), xp.where(codes > 127, -magnitude, magnitude))  # type: ignore[no-any-return]
