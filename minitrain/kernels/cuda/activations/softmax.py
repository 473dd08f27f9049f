"""CUDA twins of ``ops.activations.softmax``."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.targets import Target
from ..common.sizes import threads_of_row
from ..common.targets import contiguous, row_count, slot

_SOURCE = Source("activations/softmax.cu")
_FORWARD = _SOURCE.kernel("softmax_forward", "f4* x, f4* out, i4 C")
_BACKWARD = _SOURCE.kernel("softmax_backward", "f4* dout, f4* y, f4* dx, i4 C, i4 accumulate")


def softmax_forward(x: Array) -> Any:
    """See ``ops.activations.softmax.softmax_forward``."""
    if x.size == 0:
        return NotImplemented
    C = x.shape[-1]
    out = array_module(x).empty(x.shape, x.dtype)
    _FORWARD(row_count(x), threads_of_row(C), contiguous(x), out, C)
    return out, (out,)


def softmax_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.activations.softmax.softmax_backward``."""
    y = cache.out
    if y.size == 0:
        return NotImplemented
    dx, C = slot(into[0], y.shape, y), y.shape[-1]
    if dx.array is not None:
        _BACKWARD(row_count(y), threads_of_row(C), contiguous(dout), contiguous(y), dx.array, C, dx.accumulate)
    return dx.result()
