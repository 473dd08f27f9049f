"""Twins of ``ops.silu``."""

from __future__ import annotations

from typing import Any

from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.targets import Target
from ..common.elementwise import silu
from ..common.launch import launch_backward, launch_forward
from ..common.math import aligned_chunk, wide_vectors


def silu_forward(x: Array) -> Any:
    """See ``ops.silu.silu_forward``."""
    return launch_forward(_forward, x), (x,)


@kernel("void(f4[::1], f4[::1], i8)")
def _forward(x, out, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(x.size, t, threads)
        z, y = x[lo:hi], out[lo:hi]
        for i in range(z.size):
            y[i], _ = silu(z[i])


def silu_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.silu.silu_backward``."""
    return launch_backward(_backward, dout, cache.x, into[0])


@kernel("void(f4[::1], f4[::1], f4[::1], f4, i8)")
def _backward(dout, x, dx, beta, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(x.size, t, threads)
        dy, z, dz = dout[lo:hi], x[lo:hi], dx[lo:hi]
        for i in range(z.size):
            _, slope = silu(z[i])
            d = dy[i] * slope
            dz[i] = d + dz[i] if beta != 0 else d
