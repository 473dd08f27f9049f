"""Twins of ``ops.gelu``."""

from __future__ import annotations

from typing import Any

from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.targets import Target
from ..common.elementwise import gelu, gelu_gradient
from ..common.launch import launch_backward, launch_forward
from ..common.math import aligned_chunk, wide_vectors


def gelu_forward(x: Array, *, approximate: str = "tanh") -> Any:
    """See ``ops.gelu.gelu_forward``."""
    return launch_forward(_forward, x, approximate == "tanh"), (x, approximate)


@kernel("void(f4[::1], f4[::1], b1, i8)")
def _forward(x, out, tanh, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(x.size, t, threads)
        gelu(x[lo:hi], out[lo:hi], tanh)


def gelu_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.gelu.gelu_backward``."""
    return launch_backward(_backward, dout, cache.x, into[0], cache.approximate == "tanh")


@kernel("void(f4[::1], f4[::1], f4[::1], f4, b1, i8)")
def _backward(dout, x, dx, beta, tanh, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(x.size, t, threads)
        gelu_gradient(dout[lo:hi], x[lo:hi], dx[lo:hi], beta, tanh)
