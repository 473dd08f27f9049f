"""Helpers of all kernels: splitting work over threads, and functions that LLVM can vectorise.

numba has no vector ``exp`` without Intel's SVML. The one here is branch-free: a polynomial on [-ln 2 / 2, ln 2 / 2] and
a power of two built from its bits. So a loop that calls it becomes SIMD code. Its relative error is below 2e-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from ....backend.cpu.jit import device

f4 = np.float32


@device
def chunk(n, part, parts):
    """The half-open range of ``n`` items that ``part`` of ``parts`` works on.

    Inner loops should slice that range and count from 0: numba then knows that no index is negative, and LLVM
    vectorises the loop, which makes it at least twice as fast.
    """
    return n * part // parts, n * (part + 1) // parts


@device
def aligned_chunk(n, part, parts):
    """Like ``chunk``, but chunks begin at multiples of 64. For element-wise kernels.

    Scalar code computes the elements after the last full vector of a loop, and may round differently. With aligned
    chunks these are the same elements for any number of parts.
    """
    blocks = (n + 63) // 64
    return min(n, blocks * part // parts * 64), min(n, blocks * (part + 1) // parts * 64)


@device
def rows_per_tile(width):
    """How many rows of ``width`` numbers a kernel takes through its steps as one tile: 8 KB of them.

    A step needs a sum over the row from the step before. One row alone would wait for each of its sums; in a tile, the
    other rows fill that time. Wide rows hide it by themselves, and should stay in the first-level cache.
    """
    return max(1, 2048 // max(1, width))


@intrinsic
def bits_to_float(typing_context: Any, bits: Any) -> Any:
    """The float32 with these int32 bits (a register move)."""
    if bits != types.int32:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def to_ordered_int(typing_context: Any, x: Any) -> Any:
    """An int32 that sorts in the same order as the float32 ``x``; NaN sorts first or last, by its sign."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _flip_negative(builder, builder.bitcast(args[0], ir.IntType(32)))

    return types.int32(types.float32), codegen


@intrinsic
def from_ordered_int(typing_context: Any, n: Any) -> Any:
    """The inverse of ``to_ordered_int``: the float32 of ``n``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(_flip_negative(builder, args[0]), ir.FloatType())

    return types.float32(types.int32), codegen


def _flip_negative(builder: Any, bits: Any) -> Any:
    """Flip all bits but the sign if the sign is set: floats order negative numbers by magnitude, integers do not."""
    word = ir.IntType(32)
    return builder.xor(bits, builder.and_(builder.ashr(bits, word(31)), word(0x7FFFFFFF)))


@intrinsic
def arithmetic_fence(typing_context: Any, x: Any) -> Any:
    """The float32 ``x``, unchanged: LLVM does not reorder a sum across this fence."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        fence = cgutils.get_or_insert_function(builder.module, kind, "llvm.arithmetic.fence.f32")
        return builder.call(fence, args)

    return types.float32(types.float32), codegen


@device
def inverse(n):
    """1 / n as a factor. LLVM may turn a division in a loop into one, and rounds differently where it does."""
    return arithmetic_fence(f4(1) / f4(n))


@device
def mean_of(total, inverse_count):
    """The mean. Without the fence LLVM may fuse the product with a later sum, in one kernel and not in another."""
    return arithmetic_fence(total * inverse_count)


@device
def inverse_root(x):
    """1 / sqrt(x) as a factor."""
    return arithmetic_fence(f4(1) / np.sqrt(x))


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """Let LLVM use 512-bit registers in the function that calls this.

    By default LLVM uses 256 bits, because wider ones could lower the clock. Loops with much arithmetic per byte gain
    from the full width where there is AVX-512; elsewhere this changes nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # llvmlite's own ``add`` accepts only attributes that it knows; ``set.add`` bypasses that check.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def assume_contiguous(typing_context: Any, x: Any) -> Any:
    """The same vector, typed as contiguous, so that LLVM vectorises a loop over it.

    It is meant for rows of strided arrays. The launcher must check that the elements of a row are contiguous.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return impl_ret_borrowed(context, builder, signature.return_type, args[0])  # the same memory, another type

    return x.copy(layout="C")(x), codegen


@device
def maximum(x):
    """The largest number of ``x`` (n,), n at least 1; NaN if ``x`` has a NaN with a clear sign bit.

    LLVM does not vectorise a maximum of floats, because of NaN; it does for integers.
    """
    highest = to_ordered_int(x[0])
    for i in range(x.size):
        n = to_ordered_int(x[i])
        highest = n if n > highest else highest
    return from_ordered_int(highest)


@device
def _power_of_two(n):
    """2**n for an integer n in [-126, 127], as float32."""
    return bits_to_float(np.int32((n + np.int32(127)) << np.int32(23)))


@device
def _reduced(y):
    """Integer n and e**r such that e**y = 2**n e**r with abs(r) <= ln 2 / 2; y in [-88, 89]."""
    n = np.floor(y * f4(1.442695041) + f4(0.5))
    r = y - n * f4(0.693359375) - n * f4(-2.12194440e-4)  # ln 2 in two parts keeps r exact
    p = f4(1.9875691500e-4)
    p = p * r + f4(1.3981999507e-3)
    p = p * r + f4(8.3334519073e-3)
    p = p * r + f4(4.1665795894e-2)
    p = p * r + f4(1.6666665459e-1)
    p = p * r + f4(5.0000001201e-1)
    return np.int32(n), p * r * r + r + f4(1.0)


@device
def exp(x):
    """e**x for float32: 0 below -87, infinity above 88.7, NaN for NaN."""
    y = min(max(x, f4(-87.0)), f4(88.72283))
    n, p = _reduced(y)
    half = n >> np.int32(1)  # 2**n as a product of two: n can be 128
    p = p * _power_of_two(half) * _power_of_two(np.int32(n - half))
    p = f4(0.0) if x < f4(-87.0) else p
    p = f4(np.inf) if x > f4(88.72283) else p
    return x if x != x else p


@device
def exp_within_40(x):
    """e**x for a float32 in [-40, 40]; outside, that of the nearer end. NaN may be lost."""
    n, p = _reduced(min(max(x, f4(-40.0)), f4(40.0)))
    return p * _power_of_two(n)


@device
def exp_nonpositive(x):
    """e**x for a float32 of at most 0 (or just above, by rounding), as in a softmax: 0 below -87, NaN for NaN."""
    y = f4(-87.0) if x < f4(-87.0) else x  # this order of the branches keeps NaN
    n, p = _reduced(y)
    p = p * _power_of_two(n)
    return f4(0.0) if x < f4(-87.0) else p


@device
def normal_cdf_pdf(x):
    """The standard normal's distribution function and density at a float32.

    Abramowitz and Stegun 7.1.26: erfc(z) = t (a1 + t (a2 + ...)) exp(-z^2), absolute error 1.5e-7. Both values
    share one exponential, and the lower tail keeps its relative accuracy because it is not 1 minus something.
    """
    # Beyond 9 both are 0 in float32; denormal numbers would make the next product ten times slower. The choice comes
    # after the computation: a branch around it would keep LLVM from vectorising.
    e = exp_nonpositive(f4(-0.5) * x * x)
    e = f4(0.0) if abs(x) > f4(9.0) else e
    z = abs(x) * f4(0.70710678)
    t = f4(1.0) / (f4(1.0) + f4(0.3275911) * z)
    p = f4(1.061405429)
    p = p * t + f4(-1.453152027)
    p = p * t + f4(1.421413741)
    p = p * t + f4(-0.284496736)
    p = p * t + f4(0.254829592)
    tail = f4(0.5) * p * t * e  # P(Z > |x|)
    return (f4(1.0) - tail if x > f4(0.0) else tail), e * f4(0.39894228)


@device
def normal_cdf(x):
    """The standard normal's distribution function at a float32, with a relative error below 1e-5 down to -9.

    Press et al., Numerical Recipes in C, 1992, section 6.2: erfc(z) = t exp(-z^2 + p(t)) with t = 1 / (1 + z / 2).
    """
    z = abs(x) * f4(0.70710678)
    t = f4(1.0) / (f4(1.0) + f4(0.5) * z)
    p = f4(0.17087277)
    p = p * t + f4(-0.82215223)
    p = p * t + f4(1.48851587)
    p = p * t + f4(-1.13520398)
    p = p * t + f4(0.27886807)
    p = p * t + f4(-0.18628806)
    p = p * t + f4(0.09678418)
    p = p * t + f4(0.37409196)
    p = p * t + f4(1.00002368)
    p = p * t + f4(-1.26551223)
    tail = f4(0.5) * t * exp_nonpositive(p - z * z)  # P(Z > |x|)
    return f4(1.0) - tail if x > f4(0.0) else tail


@device
def normal_pdf(x):
    """The standard normal's density at a float32."""
    return exp_nonpositive(f4(-0.5) * x * x) * f4(0.39894228)
