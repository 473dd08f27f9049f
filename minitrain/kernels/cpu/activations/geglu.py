"""Twins of ``ops.geglu``: both gradients in one pass.

The erf form of GELU is computed more accurately than in ``gelu``: a large ``up`` would magnify an error in the tail.
"""

from __future__ import annotations

from typing import Any

from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.targets import Target
from ..common.elementwise import gated_gradients, gelu_tanh
from ..common.launch import launch_forward_of_two, launch_gated_backward
from ..common.math import aligned_chunk, normal_cdf, normal_pdf, wide_vectors


def geglu_forward(gate: Array, up: Array, *, approximate: str = "tanh") -> Any:
    """See ``ops.geglu.geglu_forward``."""
    return launch_forward_of_two(_forward, gate, up, approximate == "tanh"), (gate, up, approximate)


@kernel("void(f4[::1], f4[::1], f4[::1], b1, i8)")
def _forward(gate, up, out, tanh, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(gate.size, t, threads)
        g, u, y = gate[lo:hi], up[lo:hi], out[lo:hi]
        if tanh:
            for i in range(g.size):
                activated, _ = gelu_tanh(g[i])
                y[i] = activated * u[i]
        else:
            for i in range(g.size):
                y[i] = g[i] * normal_cdf(g[i]) * u[i]


def geglu_backward(dout: Array, cache: Any, *, into: tuple[Target, Target]) -> Any:
    """See ``ops.geglu.geglu_backward``."""
    return launch_gated_backward(_backward, dout, cache.gate, cache.up, into, cache.approximate == "tanh")


@kernel("void(f4[::1], f4[::1], f4[::1], f4[::1], f4, f4[::1], f4, b1, i8)")
def _backward(dout, gate, up, dgate, dgate_beta, dup, dup_beta, tanh, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(gate.size, t, threads)
        dy, g, u, dg, du = dout[lo:hi], gate[lo:hi], up[lo:hi], dgate[lo:hi], dup[lo:hi]
        if tanh:
            for i in range(g.size):
                activated, slope = gelu_tanh(g[i])
                a, b = gated_gradients(dy[i], u[i], activated, slope)
                dg[i] = a + dg[i] if dgate_beta != 0 else a
                du[i] = b + du[i] if dup_beta != 0 else b
        else:
            for i in range(g.size):
                cdf = normal_cdf(g[i])
                a = dy[i] * u[i] * (cdf + g[i] * normal_pdf(g[i]))
                b = dy[i] * g[i] * cdf
                dg[i] = a + dg[i] if dgate_beta != 0 else a
                du[i] = b + du[i] if dup_beta != 0 else b
