"""CUDA twins of ``ops.activations.swiglu``."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.targets import Target
from . import elementwise
from .elementwise import SILU


def swiglu_forward(gate: Array, up: Array) -> Any:
    """See ``ops.activations.swiglu.swiglu_forward``."""
    out = elementwise.forward(SILU, gate, up)
    return NotImplemented if out is NotImplemented else (out, (gate, up))


def swiglu_backward(dout: Array, cache: Any, *, into: tuple[Target, Target]) -> Any:
    """See ``ops.activations.swiglu.swiglu_backward``."""
    return elementwise.gated_backward(SILU, dout, cache.gate, cache.up, into)
