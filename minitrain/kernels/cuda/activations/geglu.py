"""CUDA twins of ``ops.activations.geglu``."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.targets import Target
from . import elementwise
from .elementwise import gelu_functor


def geglu_forward(gate: Array, up: Array, *, approximate: str = "tanh") -> Any:
    """See ``ops.activations.geglu.geglu_forward``."""
    out = elementwise.forward(gelu_functor(approximate), gate, up)
    return NotImplemented if out is NotImplemented else (out, (gate, up, approximate))


def geglu_backward(dout: Array, cache: Any, *, into: tuple[Target, Target]) -> Any:
    """See ``ops.activations.geglu.geglu_backward``."""
    return elementwise.gated_backward(gelu_functor(cache.approximate), dout, cache.gate, cache.up, into)
