"""Twins of ``ops.swiglu``: both gradients in one pass, with one exponential per element."""

from __future__ import annotations

from typing import Any

from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.targets import Target
from ..common.elementwise import gated_gradients, silu
from ..common.launch import launch_forward_of_two, launch_gated_backward
from ..common.math import aligned_chunk, wide_vectors


def swiglu_forward(gate: Array, up: Array) -> Any:
    """See ``ops.swiglu.swiglu_forward``."""
    return launch_forward_of_two(_forward, gate, up), (gate, up)


@kernel("void(f4[::1], f4[::1], f4[::1], i8)")
def _forward(gate, up, out, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(gate.size, t, threads)
        g, u, y = gate[lo:hi], up[lo:hi], out[lo:hi]
        for i in range(g.size):
            activated, _ = silu(g[i])
            y[i] = activated * u[i]


def swiglu_backward(dout: Array, cache: Any, *, into: tuple[Target, Target]) -> Any:
    """See ``ops.swiglu.swiglu_backward``."""
    return launch_gated_backward(_backward, dout, cache.gate, cache.up, into)


@kernel("void(f4[::1], f4[::1], f4[::1], f4[::1], f4, f4[::1], f4, i8)")
def _backward(dout, gate, up, dgate, dgate_beta, dup, dup_beta, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(gate.size, t, threads)
        dy, g, u, dg, du = dout[lo:hi], gate[lo:hi], up[lo:hi], dgate[lo:hi], dup[lo:hi]
        for i in range(g.size):
            activated, slope = silu(g[i])
            a, b = gated_gradients(dy[i], u[i], activated, slope)
            dg[i] = a + dg[i] if dgate_beta != 0 else a
            du[i] = b + du[i] if dup_beta != 0 else b
