"""CUDA twins of ``ops.linear.float8_linear``.

cuBLASLt multiplies rows by rows in 8 bits, so each operand is rounded along the size that is summed over: as it lies
for the forward, turned for a gradient.
"""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.float8 import E4M3, E5M2, takes_float8
from ....backend.cuda.float8_gemm import Float8, float8_matmul
from ....backend.targets import SKIP, Target
from ..common.sizes import blocks_for, vector_width
from ..common.targets import contiguous, slot
from . import gelu_linear, linear
from .column_sums import column_sums
from .float8 import float8_scale, functor_of, to_float8, turned_float8
from .operands import operand, rows


def float8_linear_forward(x: Array, weight: Array, bias: Array | None, *, gelu: str | None = None) -> Any:
    """See ``ops.linear.float8_linear.float8_linear_forward``."""
    if not takes_float8(x, weight):
        found = (
            linear.linear_forward(x, weight, bias)
            if gelu is None
            else gelu_linear.gelu_linear_forward(x, weight, bias, approximate=gelu)
        )
        return NotImplemented if found is NotImplemented else (found[0], (found[1][0], weight, bias, gelu, None, None))
    functor = functor_of(gelu)
    kept = contiguous(x) if gelu is None else operand(x)
    factor, weights = rows(kept), contiguous(weight)  # (..., K) -> (R, K)
    x_scale, weight_scale = float8_scale(factor, E4M3, functor), float8_scale(weights, E4M3)
    out = array_module(x).empty((*x.shape[:-1], weight.shape[0]), "float32")
    float8_matmul(
        to_float8(factor, x_scale, E4M3, functor), to_float8(weights, weight_scale, E4M3), out=rows(out),
        bias=None if bias is None else operand(bias), fast=True,
    )  # fmt: skip
    return out, (x if gelu is None else kept, weight, bias, gelu, x_scale, weight_scale)


def float8_linear_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.linear.float8_linear.float8_linear_backward``."""
    x, weight, bias, gelu, x_scale, weight_scale = cache
    if x_scale is None or weight_scale is None:
        if gelu is None:
            return linear.linear_backward(dout, (x, weight, bias), into=into)
        return gelu_linear.gelu_linear_backward(dout, (x, weight, bias, gelu), into=into)
    flat, factor, functor = rows(contiguous(dout)), rows(contiguous(x)), functor_of(gelu)  # (R, N), (R, K)
    dx, dweight = slot(into[0], x.shape, dout), slot(into[1], weight.shape, dout)
    dbias = slot(SKIP if bias is None else into[2], weight.shape[:1], dout)
    column_sums(flat, dbias)
    if dx.array is None and dweight.array is None:
        return dx.result(), dweight.result(), dbias.result()
    scale = float8_scale(flat, E5M2)
    gradient: Float8 | None
    if dweight.array is None:
        gradient = to_float8(flat, scale, E5M2)
    else:
        gradient, turned = turned_float8(flat, scale, E5M2, both=dx.array is not None)  # (R, N), (N, P)
        _, columns = turned_float8(factor, x_scale, E4M3, functor)  # (K, P)
        float8_matmul(turned, columns, out=dweight.array, beta=dweight.accumulate)
    if dx.array is not None and gradient is not None:
        _, columns = turned_float8(contiguous(weight), weight_scale, E4M3)  # (K, N), whose N is a multiple of 16
        if gelu is None:
            float8_matmul(gradient, columns, out=rows(dx.array), beta=dx.accumulate)
        else:
            upstream = array_module(x).empty(factor.shape, "float32")
            float8_matmul(gradient, columns, out=upstream)
            V = vector_width(factor.size, upstream, factor, dx.array)
            kernel = gelu_linear.BACKWARD[functor, factor.dtype.name, V]
            kernel(blocks_for(factor.size // V), 256, upstream, factor, dx.array, None, factor.size, dx.accumulate)
    return dx.result(), dweight.result(), dbias.result()
