"""What the kernels share: splitting work over threads, and functions that LLVM can vectorise.

numba has no vector ``exp`` without Intel's SVML. The one here is branch-free: a polynomial on [-ln 2 / 2, ln 2 / 2] and
a power of two put together from its bits, so a loop that calls it becomes SIMD code. Its relative error is below 2e-7.
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

    Inner loops take a slice of that range and count from 0: numba then knows that no index is negative, and LLVM
    vectorises the loop (twice as fast, and more).
    """
    return n * part // parts, n * (part + 1) // parts


@device
def stretch(n, part, parts):
    """As ``chunk``, for numbers that are computed one by one: cuts fall on multiples of 64.

    What is left of a loop behind its last full vector is computed by scalar code, which may round otherwise. With such
    cuts that is the same few numbers however many parts there are.
    """
    blocks = (n + 63) // 64
    return min(n, blocks * part // parts * 64), min(n, blocks * (part + 1) // parts * 64)


@device
def rows_together(width):
    """How many rows of ``width`` numbers a kernel with sums over rows takes through its steps together: 8 KB of them.

    What a row needs of its sums has arrived when its turn comes again, while a row that goes through all steps alone
    waits for each. Wide rows have other work to wait with, and should stay in the first-level cache.
    """
    return max(1, 2048 // max(1, width))


@intrinsic
def bits_to_float(typing_context: Any, bits: Any) -> Any:
    """The float32 with the given int32 bits (a register move)."""
    if bits != types.int32:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def in_order(typing_context: Any, x: Any) -> Any:
    """The int32 that lies among the int32 as the float32 ``x`` lies among the float32; NaN at either end."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _turn_negative(builder, builder.bitcast(args[0], ir.IntType(32)))

    return types.int32(types.float32), codegen


@intrinsic
def out_of_order(typing_context: Any, n: Any) -> Any:
    """The float32 that ``in_order`` made ``n`` of."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(_turn_negative(builder, args[0]), ir.FloatType())

    return types.float32(types.int32), codegen


def _turn_negative(builder: Any, bits: Any) -> Any:
    """All bits but the sign turned if the sign is set: negative floats grow downwards, negative integers upwards."""
    word = ir.IntType(32)
    return builder.xor(bits, builder.and_(builder.ashr(bits, word(31)), word(0x7FFFFFFF)))


@intrinsic
def rounded(typing_context: Any, x: Any) -> Any:
    """The float32 ``x`` as a number of its own: a sum that it enters is not reordered with the terms of ``x``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        fence = cgutils.get_or_insert_function(builder.module, kind, "llvm.arithmetic.fence.f32")
        return builder.call(fence, args)

    return types.float32(types.float32), codegen


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """Let LLVM use 512-bit registers in the function that calls this.

    It keeps to 256 bits on its own, for fear of a lower clock. Loops with much arithmetic per byte gain from the full
    width where there is AVX-512; elsewhere this changes nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # llvmlite's own ``add`` only takes attributes it knows; the set is written out as it is.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def contiguous(typing_context: Any, x: Any) -> Any:
    """The same vector, known to be contiguous, so that LLVM makes SIMD code of a loop over it.

    For a row of a strided array; that its elements lie side by side is the launcher's to check.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return impl_ret_borrowed(context, builder, signature.return_type, args[0])  # the same memory, another type

    return x.copy(layout="C")(x), codegen


@device
def maximum(x):
    """The largest number of ``x`` (n,), n at least 1; NaN if that is among them with its sign bit clear.

    LLVM makes no SIMD code of a maximum of floats, for the sake of NaN; of integers it does.
    """
    highest = in_order(x[0])
    for i in range(x.size):
        n = in_order(x[i])
        highest = n if n > highest else highest
    return out_of_order(highest)


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
def exp_nonpositive(x):
    """e**x for float32 at most 0 (or just above, by rounding): 0 below -87, NaN for NaN. A softmax needs no more."""
    y = f4(-87.0) if x < f4(-87.0) else x  # written so that NaN stays
    n, p = _reduced(y)
    p = p * _power_of_two(n)
    return f4(0.0) if x < f4(-87.0) else p


@device
def normal_cdf_pdf(x):
    """The standard normal's distribution function and density at a float32.

    Abramowitz and Stegun 7.1.26: erfc(z) = t (a1 + t (a2 + ...)) exp(-z^2), absolute error 1.5e-7. Both values
    share one exponential, and the lower tail keeps its relative accuracy because it is not 1 minus something.
    """
    # Beyond 9 both are 0 to float32's precision; numbers too small to be normal would slow the next product tenfold.
    # The choice comes after the computation: a branch around it would keep LLVM from vectorising.
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
    """The standard normal's distribution function at a float32, its relative error below 1e-5 down to -9.

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
