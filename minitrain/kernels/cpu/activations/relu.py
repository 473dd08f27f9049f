"""Twins of ``ops.relu``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.targets import Target
from ..common.launch import launch_backward, launch_forward
from ..common.math import aligned_chunk


def relu_forward(x: Array) -> Any:
    """See ``ops.relu.relu_forward``."""
    out = launch_forward(_forward, x)
    return out, (out,)


@kernel("void(f4[::1], f4[::1], i8)")
def _forward(x, out, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(x.size, t, threads)
        z, y = x[lo:hi], out[lo:hi]
        for i in range(z.size):
            y[i] = np.float32(0) if z[i] <= 0 else z[i]  # this order of the branches keeps NaN


def relu_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.relu.relu_backward``."""
    return launch_backward(_backward, dout, cache.out, into[0])


@kernel("void(f4[::1], f4[::1], f4[::1], f4, i8)")
def _backward(dout, out, dx, beta, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(out.size, t, threads)
        dy, y, dz = dout[lo:hi], out[lo:hi], dx[lo:hi]
        for i in range(y.size):
            d = dy[i] if y[i] > 0 else np.float32(0)
            dz[i] = d + dz[i] if beta != 0 else d
