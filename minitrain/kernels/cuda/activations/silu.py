"""CUDA twins of ``ops.activations.silu``."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.targets import Target
from . import elementwise
from .elementwise import SILU


def silu_forward(x: Array) -> Any:
    """See ``ops.activations.silu.silu_forward``."""
    out = elementwise.forward(SILU, x)
    return NotImplemented if out is NotImplemented else (out, (x,))


def silu_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.activations.silu.silu_backward``."""
    return elementwise.backward(SILU, dout, cache.x, into[0])
