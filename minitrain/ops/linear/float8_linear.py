"""A linear map of a feed-forward layer, with or without GELU before it, that may be multiplied in 8 bits.

Under the precision ``float8`` its three products have operands of 8 bits (``backend/cuda/float8.py``): e4m3 for the
input and the weight, e5m2 for the gradient. Sums and results stay float32. Under all other precisions, and where a
width is no multiple of 16, it is ``linear`` or ``gelu_linear``.

Each array has one scale, from its own numbers in this call. Nothing is remembered from call to call.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...backend.cuda.float8 import E4M3, E5M2, float8_scale, takes_float8, to_float8
from ...backend.precision import operand, wide
from ...errors import ShapeError
from ..activations.gelu import FORMS, gelu_backward, gelu_forward
from ..contract.op import op
from ..contract.products import dot_rows, product
from ..contract.sums import flat_rows, sum_over
from .gelu_linear import GeluLinearCache, gelu_linear_backward, gelu_linear_forward
from .linear import LinearCache, linear_backward, linear_forward


class Float8LinearCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., K) the input, in 32 bits; as an operand where it was multiplied as one, or stands before GELU
    weight: Array  # (N, K)
    bias: Array | None  # (N,)
    gelu: str | None  # form of the GELU before the product
    x_scale: Array | None  # () of what was multiplied; None if it did not have 8 bits
    weight_scale: Array | None  # ()


def _check_form(x: Array, weight: Array, bias: Array | None = None, *, gelu: str | None = None) -> None:
    if gelu is not None and gelu not in FORMS:
        raise ShapeError(f"float8_linear_forward: gelu={gelu!r}; use 'tanh' (GPT-2's), 'exact' (erf) or None for none")


@op("x: half *B K; weight: half N K; bias: N", check=_check_form)
def float8_linear_forward(
    x: Array, weight: Array, bias: Array | None = None, *, gelu: str | None = None
) -> tuple[Array, Float8LinearCache]:
    """``f(x) @ weight.T + bias``, where f is GELU or nothing.

    Args:
        x: (..., K) input.
        weight: (N, K).
        bias: (N,), or ``None`` for none. In 8 bits it is rounded to bfloat16: cuBLASLt adds no other there.
        gelu: ``None``, or the form of a GELU before the product, see ``gelu_forward``.

    Returns:
        out (..., N) and the cache.
    """
    if not takes_float8(x, weight):
        out, kept = _plain_forward(x, weight, bias, gelu)
        return out, Float8LinearCache(kept, weight, bias, gelu, None, None)
    kept = x if gelu is None else operand(x)
    factor = kept if gelu is None else gelu_forward.reference(wide(kept), approximate=gelu)[0]
    x_scale, weight_scale = float8_scale(factor, E4M3), float8_scale(weight, E4M3)
    out = product(to_float8(factor, x_scale, E4M3), to_float8(weight, weight_scale, E4M3).T)  # (..., K) @ (K, N)
    if bias is not None:
        out = out + wide(operand(bias))
    return out, Float8LinearCache(kept, weight, bias, gelu, x_scale, weight_scale)


@op("cache.x: half *B K; cache.weight: half N K; cache.x_scale: ; cache.weight_scale: ; dout: *B N")
def float8_linear_backward(dout: Array, cache: Float8LinearCache) -> tuple[Array, Array, Array | None]:
    """Gradients of the map.

    Maps dout (..., N) to dx (..., K), dweight (N, K), dbias (N,) or ``None`` without a bias. dbias adds up what was not
    rounded.
    """
    if cache.x_scale is None or cache.weight_scale is None:
        return _plain_backward(dout, cache)
    x, weight, bias, gelu = cache[:4]
    x_scale, weight_scale = cache.x_scale, cache.weight_scale
    gradient = to_float8(dout, float8_scale(dout, E5M2), E5M2)
    activation, gelu_cache = (x, None) if gelu is None else gelu_forward.reference(wide(x), approximate=gelu)
    factor = to_float8(activation, x_scale, E4M3)
    dx = product(gradient, to_float8(weight, weight_scale, E4M3))  # (..., N) @ (N, K)
    dweight = dot_rows(flat_rows(gradient), flat_rows(factor))  # (R, N), (R, K)
    dbias = None if bias is None else sum_over(flat_rows(dout), 0)  # (..., N) -> (R, N) -> (N,)
    return dx if gelu_cache is None else gelu_backward.reference(dx, gelu_cache), dweight, dbias


def _plain_forward(x: Array, weight: Array, bias: Array | None, gelu: str | None) -> tuple[Array, Array]:
    """The map in more bits: its output, and what is kept of the input."""
    if gelu is None:
        out, linear = linear_forward.reference(x, weight, bias)
        return out, linear.x
    out, fused = gelu_linear_forward.reference(x, weight, bias, approximate=gelu)
    return out, fused.hidden


def _plain_backward(dout: Array, cache: Float8LinearCache) -> tuple[Array, Array, Array | None]:
    if cache.gelu is None:
        return linear_backward.reference(dout, LinearCache(cache.x, cache.weight, cache.bias))
    return gelu_linear_backward.reference(dout, GeluLinearCache(cache.x, cache.weight, cache.bias, cache.gelu))
