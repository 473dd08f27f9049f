"""Twins of ``ops.gelu_linear``: GELU of a block of rows goes from cache into the product and is not kept.

In the backward each thread owns some columns of the hidden layer and their part of both gradients. It takes ``ROWS``
rows at a time: it computes the gradient of the activation, turns it into ``dhidden``, overwrites it with the activation
itself, and multiplies that into ``dweight``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import SKIP, Target
from ....backend.threads import threads_for
from ..common.elementwise import gelu, gelu_over_gradient
from ..common.gemm import available, block, gemm_nn, gemm_nt, gemm_tn
from ..common.half import covered, factor, in_half, load_row, round_row, store_rounded, to_keep, two_forms
from ..common.math import chunk, wide_vectors
from ..common.targets import NO_ROWS, NONE, full_slot, rows, slot
from .linear import linear_backward

ROWS = 256  # at a time; a thread's part of them should fit into its second-level cache


def gelu_linear_forward(hidden: Array, weight: Array, bias: Array | None, *, approximate: str = "tanh") -> Any:
    """See ``ops.gelu_linear.gelu_linear_forward``."""
    if not available or hidden.shape[-1] == 0 or not covered(hidden, weight):
        return NotImplemented
    out = empty((*hidden.shape[:-1], weight.shape[0]))
    kept = to_keep(hidden)
    h, threads = rows(kept), threads_for(hidden.size * weight.shape[0] / 32)
    a_thread = max(1, min(ROWS, -(-len(h) // threads)))  # rows of the activation that a thread has at a time
    w = rows(factor(weight))
    _forward(
        w, *two_forms(h), NONE if bias is None else np.ascontiguousarray(bias), rows(out),
        empty((threads, a_thread, h.shape[1]), w.dtype), approximate == "tanh", threads,
    )  # fmt: skip
    return out, (kept, weight, bias, approximate)


@kernel("void(operand[:, ::1], f4[:, ::1], u2[:, ::1], f4[::1], f4[:, ::1], operand[:, :, ::1], b1, i8)")
def _forward(weight, hidden, bits, bias, out, memory, tanh, threads):
    half = bits.size > 0
    R = len(bits) if half else len(hidden)
    N, K = weight.shape
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        activation = memory[t]
        row, activated = np.empty(K, np.float32), np.empty(K, np.float32)
        for first in range(lo, hi, len(activation)):
            n = min(len(activation), hi - first)
            for r in range(n):
                if half:
                    load_row(bits[first + r], row)
                    gelu(row, activated, tanh)
                    store_rounded(activated, activation[r])
                else:
                    gelu(hidden[first + r], activation[r], tanh)
            gemm_nt(n, N, K, 1.0, activation, K, weight, K, 0.0, out[first:], N)
        if bias.size:
            for r in range(lo, hi):
                for c in range(N):
                    out[r, c] += bias[c]


def gelu_linear_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.gelu_linear.gelu_linear_backward``."""
    hidden, weight, bias, approximate = cache
    if not available or dout.size == 0 or hidden.size == 0 or not covered(hidden, weight):
        return NotImplemented
    dhidden, dweight = full_slot(into[0], hidden.shape), slot(into[1], weight.shape)
    half = in_half(hidden)
    h = rows(hidden)
    if into[0] is not SKIP or dweight.array.size:
        d = rows(factor(dout, half))
        memory = empty((min(ROWS, len(h)), h.shape[1]))
        _backward(
            d, rows(factor(weight, half)), *two_forms(h), rows(dhidden.array), dhidden.beta,
            dweight.array, dweight.beta, memory, NO_ROWS if d.dtype == np.float32 else empty(memory.shape, d.dtype),
            approximate == "tanh", threads_for(h.size * weight.shape[0] / 32),
        )  # fmt: skip
    dbias = linear_backward(dout, (hidden, weight, bias), into=(SKIP, SKIP, into[2]))[2]
    return dhidden.result(), dweight.result(), dbias


@kernel(
    "void(operand[:, ::1], operand[:, ::1], f4[:, ::1], u2[:, ::1], f4[:, ::1], f4, f4[:, ::1], f4, f4[:, ::1], "
    "operand[:, ::1], b1, i8)"
)
def _backward(
    dout, weight, hidden, bits, dhidden, dhidden_beta, dweight, dweight_beta, memory, activation, tanh, threads
):
    half, apart = bits.size > 0, activation.size > 0  # the activation is apart if it has 16 bits
    R, (N, K) = len(dout), weight.shape
    for t in prange(threads):
        wide_vectors()
        _, _, c0, c1 = block(0, K, t, threads)
        rows_to_do = R if c1 > c0 else 0
        row = np.empty(c1 - c0, np.float32)
        for first in range(0, rows_to_do, len(memory)):
            n = min(len(memory), R - first)
            gemm_nn(n, c1 - c0, N, 1.0, dout[first:], N, weight[:, c0:], K, 0.0, memory[:, c0:], K)
            for i in range(n):
                r = first + i
                if half:
                    load_row(bits[r, c0:c1], row)
                    gelu_over_gradient(memory[i, c0:c1], row, dhidden[r, c0:c1], dhidden_beta, tanh)
                    if apart:  # the activation stands in memory now
                        store_rounded(memory[i, c0:c1], activation[i, c0:c1])
                    else:
                        round_row(memory[i, c0:c1])
                else:
                    gelu_over_gradient(memory[i, c0:c1], hidden[r, c0:c1], dhidden[r, c0:c1], dhidden_beta, tanh)
            if dweight.size:
                beta = dweight_beta if first == 0 else np.float32(1)  # later blocks add to the first
                if apart:
                    gemm_tn(N, c1 - c0, n, 1.0, dout[first:], N, activation[:, c0:], K, beta, dweight[:, c0:], K)
                else:
                    gemm_tn(N, c1 - c0, n, 1.0, dout[first:], N, memory[:, c0:], K, beta, dweight[:, c0:], K)
