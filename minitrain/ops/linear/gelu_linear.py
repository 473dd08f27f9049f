"""Fusion of ``gelu`` and ``linear``, the second half of a feed-forward layer.

The code below is the composition of the two. The fusion exists for its cache: the activation, often the widest array of
a layer, is not kept. The backward recomputes it together with its slope; both share one exponential.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...backend.precision import operand, operand_like, wide
from ...errors import ShapeError
from ..activations.gelu import FORMS, gelu_backward, gelu_forward
from ..contract.op import op
from .linear import LinearCache, linear_backward, linear_forward


class GeluLinearCache(NamedTuple):
    """Saved for the backward."""

    hidden: Array  # (..., K) the input, before GELU; rounded as an operand, for it is kept
    weight: Array  # (N, K)
    bias: Array | None  # (N,)
    approximate: str


def _check_form(hidden: Array, weight: Array, bias: Array | None = None, *, approximate: str = "tanh") -> None:
    if approximate not in FORMS:
        raise ShapeError(f"gelu_linear_forward: approximate={approximate!r}; use 'tanh' (GPT-2's) or 'exact' (erf)")


@op("hidden: half *B K; weight: half N K; bias: N", check=_check_form)
def gelu_linear_forward(
    hidden: Array, weight: Array, bias: Array | None = None, *, approximate: str = "tanh"
) -> tuple[Array, GeluLinearCache]:
    """``gelu(hidden) @ weight.T + bias``.

    Args:
        hidden: (..., K) input.
        weight: (N, K).
        bias: (N,), or ``None`` for none.
        approximate: ``"tanh"`` or ``"exact"``, see ``gelu_forward``.

    Returns:
        out (..., N) and the cache.
    """
    kept = operand(hidden)
    activation, _ = gelu_forward.reference(wide(kept), approximate=approximate)
    out, _ = linear_forward.reference(activation, weight, bias)
    return out, GeluLinearCache(kept, weight, bias, approximate)


@op("cache.hidden: half *B K; cache.weight: half N K; dout: *B N")
def gelu_linear_backward(dout: Array, cache: GeluLinearCache) -> tuple[Array, Array, Array | None]:
    """Gradients of the fusion.

    Maps dout (..., N) to dhidden (..., K), dweight (N, K), dbias (N,) or ``None`` without a bias.
    """
    hidden, weight, bias, approximate = cache
    activation, gelu_cache = gelu_forward.reference(wide(hidden), approximate=approximate)
    linear_cache = LinearCache(operand_like(activation, hidden), weight, bias)
    dactivation, dweight, dbias = linear_backward.reference(dout, linear_cache)
    return gelu_backward.reference(dactivation, gelu_cache), dweight, dbias
