"""Fusion of ``linear`` and ``gelu``, the first half of a feed-forward layer.

What it means is written below as the composition. The kernel twin applies bias and GELU to a block of the product
while it is in cache, and GELU's derivative to a block of ``dout`` just before it enters the next product.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...errors import ShapeError
from ..activations.gelu import FORMS, GeluCache, gelu_backward, gelu_forward
from ..contract.op import op
from .linear import LinearCache, linear_backward, linear_forward


class LinearGeluCache(NamedTuple):
    """What the backward needs."""

    x: Array  # (..., K) the input
    weight: Array  # (N, K)
    bias: Array | None  # (N,)
    hidden: Array  # (..., N) the product plus bias, before GELU
    approximate: str


def _check_form(x: Array, weight: Array, bias: Array | None = None, *, approximate: str = "tanh") -> None:
    if approximate not in FORMS:
        raise ShapeError(f"linear_gelu_forward: approximate={approximate!r}; use 'tanh' (GPT-2's) or 'exact' (erf)")


@op("x: *B K; weight: N K; bias: N", check=_check_form)
def linear_gelu_forward(
    x: Array, weight: Array, bias: Array | None = None, *, approximate: str = "tanh"
) -> tuple[Array, LinearGeluCache]:
    """``gelu(x @ weight.T + bias)``.

    Args:
        x: (..., K) input.
        weight: (N, K).
        bias: (N,), or ``None`` for none.
        approximate: ``"tanh"`` or ``"exact"``, see ``gelu_forward``.

    Returns:
        out (..., N) and the cache.
    """
    hidden, _ = linear_forward.reference(x, weight, bias)
    out, _ = gelu_forward.reference(hidden, approximate=approximate)
    return out, LinearGeluCache(x, weight, bias, hidden, approximate)


@op("cache.x: *B K; cache.weight: N K; dout: *B N")
def linear_gelu_backward(dout: Array, cache: LinearGeluCache) -> tuple[Array, Array, Array | None]:
    """Gradients of the fusion.

    Args:
        dout: (..., N) gradient of the output.
        cache: from the forward.

    Returns:
        dx (..., K), dweight (N, K), dbias (N,) or ``None`` without a bias.
    """
    x, weight, bias, hidden, approximate = cache
    dhidden = gelu_backward.reference(dout, GeluCache(hidden, approximate))
    return linear_backward.reference(dhidden, LinearCache(x, weight, bias))
