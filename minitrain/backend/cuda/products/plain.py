"""The products of ``gemm.matmul`` in array code: for a GPU without cuBLASLt, and to read what they are.

Operands of 16 bits are widened first, so that sums and results have 32. CuPy multiplies batches of 16-bit matrices
slowly or not at all, and rounds their results to 16 bits.
"""

from __future__ import annotations

import math

from ...arrays import Array, array_module
from ...precision import wide


def plain_matmul(
    a: Array, b: Array, out: Array, beta: float, bias: Array | None, epilogue: str | None, aux: Array | None
) -> None:
    """``out = epilogue(a @ b + bias) + beta out``; see ``gemm.matmul``, which has checked the arguments.

    Args:
        a: (..., M, K), transposed already.
        b: (..., K, N), transposed already.
        out: (..., M, N), written.
        beta: factor of the old ``out``; 0 does not read it.
        bias: (N,) vector to add, or the vector that receives sums.
        epilogue: a name of ``problem.FORMS``.
        aux: (M, N) matrix of the epilogue.
    """
    xp = array_module(a)
    a, b = wide(a), wide(b)
    result = xp.matmul(a, b)
    if epilogue == "sum_a" and bias is not None:
        bias[...] = a.reshape(a.shape[-2:]).sum(axis=1)
    elif epilogue == "sum_b" and bias is not None:
        bias[...] = b.reshape(b.shape[-2:]).sum(axis=0)
    elif bias is not None and epilogue != "dgelu_sum":
        result = result + wide(bias)
    if epilogue == "relu":
        result = xp.maximum(result, 0)
    elif epilogue == "gelu_aux" and aux is not None:
        aux[...] = result
        result = _gelu(xp, result)
    elif epilogue == "gelu":
        result = _gelu(xp, result)
    elif epilogue in ("dgelu", "dgelu_sum") and aux is not None:
        result = result * _slope(xp, wide(aux))
        if epilogue == "dgelu_sum" and bias is not None:
            bias[...] = result.reshape(result.shape[-2:]).sum(axis=0)
    out[...] = result + beta * wide(out) if beta else result


ROOT = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def _gelu(xp: object, x: Array) -> Array:
    """``x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2``."""
    return 0.5 * x * (1 + xp.tanh(ROOT * (x + CUBIC * x**3)))  # type: ignore[attr-defined, no-any-return]


def _slope(xp: object, x: Array) -> Array:
    t = xp.tanh(ROOT * (x + CUBIC * x**3))  # type: ignore[attr-defined]
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * ROOT * (1 + 3 * CUBIC * x * x)  # type: ignore[no-any-return]
