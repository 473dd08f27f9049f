"""CUDA twins of ``ops.activations.gelu``."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.targets import Target
from . import elementwise
from .elementwise import gelu_functor


def gelu_forward(x: Array, *, approximate: str = "tanh") -> Any:
    """See ``ops.activations.gelu.gelu_forward``."""
    out = elementwise.forward(gelu_functor(approximate), x)
    return NotImplemented if out is NotImplemented else (out, (x, approximate))


def gelu_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.activations.gelu.gelu_backward``."""
    return elementwise.backward(gelu_functor(cache.approximate), dout, cache.x, into[0])
