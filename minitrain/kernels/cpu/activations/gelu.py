"""Twins of ``ops.gelu``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.elementwise import gelu, gelu_gradient
from ..common.math import stretch, wide_vectors
from ..common.targets import slot


def gelu_forward(x: Array, *, approximate: str = "tanh") -> Any:
    """See ``ops.gelu.gelu_forward``."""
    out = empty(x.shape)
    _forward(np.ascontiguousarray(x).reshape(-1), out.reshape(-1), approximate == "tanh", threads_for(x.size))
    return out, (x, approximate)


@kernel("void(f4[::1], f4[::1], b1, i8)")
def _forward(x, out, tanh, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = stretch(x.size, t, threads)
        gelu(x[lo:hi], out[lo:hi], tanh)


def gelu_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.gelu.gelu_backward``."""
    dx = slot(into[0], dout.shape)
    if dx.array.size:
        _backward(
            np.ascontiguousarray(dout).reshape(-1), np.ascontiguousarray(cache.x).reshape(-1),
            dx.array.reshape(-1), dx.beta, cache.approximate == "tanh", threads_for(dout.size),
        )  # fmt: skip
    return dx.result()


@kernel("void(f4[::1], f4[::1], f4[::1], f4, b1, i8)")
def _backward(dout, x, dx, beta, tanh, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = stretch(x.size, t, threads)
        gelu_gradient(dout[lo:hi], x[lo:hi], dx[lo:hi], beta, tanh)
