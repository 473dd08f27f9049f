"""GEGLU, a linear unit with a GELU gate (Shazeer, 2020, arXiv:2002.05202): ``out = gelu(gate) * up``.

``gate`` and ``up`` are two linear maps of the same input. Backward: ``dgate = dout * up * gelu'(gate)`` and
``dup = dout * gelu(gate)``.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...errors import ShapeError
from ..contract.op import op
from .gelu import FORMS, gelu_backward, gelu_forward


class GegluCache(NamedTuple):
    """Saved for the backward."""

    gate: Array  # (...,)
    up: Array  # (...,)
    approximate: str


def _check_form(gate: Array, up: Array, *, approximate: str = "tanh") -> None:
    if approximate not in FORMS:
        raise ShapeError(f"geglu_forward: approximate={approximate!r}; use 'tanh' (GPT-2's) or 'exact' (erf)")


@op("gate: *N; up: *N", check=_check_form)
def geglu_forward(gate: Array, up: Array, *, approximate: str = "tanh") -> tuple[Array, GegluCache]:
    """``gelu(gate) * up``, element by element.

    Args:
        gate: (...,) input of the activation.
        up: (...,) what the activated gate multiplies.
        approximate: form of GELU, see ``gelu_forward``.

    Returns:
        out (...,) and the cache.
    """
    activated, _ = gelu_forward.reference(gate, approximate=approximate)
    return activated * up, GegluCache(gate, up, approximate)


@op("cache.gate: *N; dout: *N")
def geglu_backward(dout: Array, cache: GegluCache) -> tuple[Array, Array]:
    """Gradients of GEGLU: dout (...,) to dgate (...,) and dup (...,)."""
    gate, up, approximate = cache
    activated, gelu_cache = gelu_forward.reference(gate, approximate=approximate)
    return gelu_backward.reference(dout * up, gelu_cache), dout * activated
