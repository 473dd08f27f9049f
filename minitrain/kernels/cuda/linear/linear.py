"""CUDA twins of ``ops.linear.linear``: products by cuBLASLt, which adds the bias on the way."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.gemm import matmul
from ....backend.targets import SKIP, Target
from ..common.targets import contiguous, optional, slot
from .column_sums import operand_and_bias_sums
from .operands import operand, operand_like, rows


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Any:
    """See ``ops.linear.linear.linear_forward``."""
    if x.size == 0 or weight.size == 0:
        return NotImplemented
    kept = operand(x)
    out = array_module(x).empty((*x.shape[:-1], weight.shape[0]), "float32")
    matmul(rows(kept), operand_like(operand(weight), kept), transpose_b=True, bias=optional(bias), out=rows(out))
    return out, (kept if kept.dtype != x.dtype else x, weight, bias)


def linear_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.linear.linear.linear_backward``."""
    x, weight, bias = cache
    if dout.size == 0 or x.size == 0:
        return NotImplemented
    dx, dweight = slot(into[0], x.shape, dout), slot(into[1], weight.shape, dout)
    dbias = slot(SKIP if bias is None else into[2], weight.shape[:1], dout)
    factor = operand_and_bias_sums(dout, x, dx.array is not None or dweight.array is not None, dbias)  # (R, N)
    if factor is not None and dx.array is not None:
        matmul(factor, operand_like(weight, x), out=rows(dx.array), beta=dx.accumulate)
    if factor is not None and dweight.array is not None:
        matmul(factor, rows(contiguous(x)), transpose_a=True, out=dweight.array, beta=dweight.accumulate)
    return dx.result(), dweight.result(), dbias.result()
