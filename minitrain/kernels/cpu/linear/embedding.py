"""Twins of ``ops.embedding``. In the backward each thread owns some rows, so repeated tokens never collide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu._simd import add_row
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import chunk
from ..common.targets import rows, slot

TOKENS_PER_ROW = 256
"""Tokens summed at once, on average per row of the table."""
USED_WITH = (
    "attention.attention", "linear.linear", "classification.cross_entropy", "norms.residual", "rules.adam", "clip",
)  # fmt: skip
"""Files with other kernels that a step of a model with an embedding most likely needs: they are compiled ahead."""


def embedding_forward(tokens: Array, weight: Array, *, padding_idx: int | None = None) -> Any:
    """See ``ops.embedding.embedding_forward``."""
    if weight.size == 0:
        return NotImplemented
    out = empty((*tokens.shape, weight.shape[1]))
    if _forward(_flat(tokens), rows(weight), rows(out), threads_for(out.size)):
        return NotImplemented  # an id is outside the table: the reference says which
    return out, (tokens, weight, padding_idx)


@kernel("b1(i8[::1], f4[:, ::1], f4[:, ::1], i8)")
def _forward(tokens, weight, out, threads):
    V, C = weight.shape
    bad = np.zeros(threads, np.bool_)
    for t in prange(threads):
        lo, hi = chunk(tokens.size, t, threads)
        for i in range(lo, hi):
            row = tokens[i]
            if row < 0 or row >= V:
                bad[t] = True
            else:
                for c in range(C):
                    out[i, c] = weight[row, c]
    return bad.any()


def embedding_backward(dout: Array, cache: Any, *, into: tuple[None, Target]) -> Any:
    """See ``ops.embedding.embedding_backward``."""
    if cache.weight.size == 0:
        return NotImplemented
    dweight = slot(into[1], cache.weight.shape)
    if dweight.array.size:
        padding = -1 if cache.padding_idx is None else cache.padding_idx  # -1 is no token
        _backward(
            _flat(cache.tokens),
            padding,
            rows(dout),
            dweight.array,
            dweight.beta,
            empty(cache.weight.shape if cache.tokens.size > TOKENS_PER_ROW * len(cache.weight) else (0, 0)),
            threads_for(dout.size + dweight.array.size),
        )
    return None, dweight.result()


@kernel("void(i8[::1], i8, f4[:, ::1], f4[:, ::1], f4, f4[:, ::1], i8)")
def _backward(tokens, padding, dout, dweight, beta, part, threads):
    """If there is memory in ``part``, a block of tokens is summed there first: one running sum of all would drift."""
    V, C = dweight.shape
    block = TOKENS_PER_ROW * V if part.size else max(1, tokens.size)
    # A thread owns every ``threads``-th row. Splitting each row instead would save the search for its tokens, but is
    # three times as slow: the prefetcher of one core loads what another has just written.
    for t in prange(threads):
        if beta == 0:
            for v in range(t, V, threads):
                dweight[v, :] = 0
        for first in range(0, tokens.size, block):
            for v in range(t, len(part), threads):
                part[v, :] = 0
            target = part if part.size else dweight
            for i in range(first, min(first + block, tokens.size)):
                row = tokens[i]
                if row % threads == t and row != padding:
                    add_row(dout[i].ctypes.data, C, target[row].ctypes.data)
            for v in range(t, len(part), threads):
                add_row(part[v].ctypes.data, C, dweight[v].ctypes.data)


def _flat(tokens: Array) -> Array:
    return np.ascontiguousarray(tokens, np.int64).reshape(-1)
