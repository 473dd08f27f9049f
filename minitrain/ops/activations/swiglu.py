"""SwiGLU, a linear unit with a SiLU gate (Shazeer, 2020, arXiv:2002.05202): ``out = silu(gate) * up``.

``gate`` and ``up`` are two linear maps of the same input. Backward: ``dgate = dout * up * silu'(gate)`` and
``dup = dout * silu(gate)``.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op
from .silu import silu_backward, silu_forward


class SwigluCache(NamedTuple):
    """Saved for the backward."""

    gate: Array  # (...,)
    up: Array  # (...,)


@op("gate: *N; up: *N")
def swiglu_forward(gate: Array, up: Array) -> tuple[Array, SwigluCache]:
    """``silu(gate) * up``, element by element.

    Args:
        gate: (...,) input of the activation.
        up: (...,) what the activated gate multiplies.

    Returns:
        out (...,) and the cache.
    """
    activated, _ = silu_forward.reference(gate)
    return activated * up, SwigluCache(gate, up)


@op("cache.gate: *N; dout: *N")
def swiglu_backward(dout: Array, cache: SwigluCache) -> tuple[Array, Array]:
    """Gradients of SwiGLU: dout (...,) to dgate (...,) and dup (...,)."""
    gate, up = cache
    activated, silu_cache = silu_forward.reference(gate)
    return silu_backward.reference(dout * up, silu_cache), dout * activated
