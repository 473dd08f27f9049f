"""Twins of ``ops.linear_gelu``: each thread applies bias and GELU to its rows of the product.

The backward is the two simple twins in turn, on a thousand rows at a time: GELU's gradient is still in cache when the
products read it, and there is never more of it in memory than that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import SKIP, Target
from ....backend.threads import threads_for
from ..activations.gelu import gelu_backward
from ..common.elementwise import gelu
from ..common.gemm import available, gemm_nt
from ..common.math import chunk, wide_vectors
from ..common.targets import NONE, rows, slot
from .linear import linear_backward

ROWS = 1024  # at a time in the backward


class GeluCache(NamedTuple):
    """The part of the cache that belongs to GELU."""

    x: Array
    approximate: str


def linear_gelu_forward(x: Array, weight: Array, bias: Array | None, *, approximate: str = "tanh") -> Any:
    """See ``ops.linear_gelu.linear_gelu_forward``."""
    if not available or x.shape[-1] == 0:
        return NotImplemented
    hidden = empty((*x.shape[:-1], weight.shape[0]))
    out = empty(hidden.shape)
    _forward(
        rows(x), rows(weight), NONE if bias is None else np.ascontiguousarray(bias), rows(hidden), rows(out),
        approximate == "tanh", threads_for(x.size * weight.shape[0] / 32),
    )  # fmt: skip
    return out, (x, weight, bias, hidden, approximate)


@kernel("void(f4[:, ::1], f4[:, ::1], f4[::1], f4[:, ::1], f4[:, ::1], b1, i8)")
def _forward(x, weight, bias, hidden, out, tanh, threads):
    R, K = x.shape
    N = weight.shape[0]
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        if hi > lo:
            gemm_nt(hi - lo, N, K, 1.0, x[lo:], K, weight, K, 0.0, hidden[lo:], N)
        for r in range(lo, hi):
            if bias.size:
                for c in range(N):
                    hidden[r, c] += bias[c]
            gelu(hidden[r], out[r], tanh)


def linear_gelu_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.linear_gelu.linear_gelu_backward``."""
    if not available or dout.size == 0:
        return NotImplemented
    dx, dweight = slot(into[0], cache.x.shape), slot(into[1], cache.weight.shape)
    dbias = slot(SKIP if cache.bias is None else into[2], dout.shape[-1:])
    d, x, hidden, dx_rows = rows(dout), rows(cache.x), rows(cache.hidden), rows(dx.array)
    for r in range(0, len(d), ROWS):
        part = slice(r, r + ROWS)
        dhidden = gelu_backward(d[part], GeluCache(hidden[part], cache.approximate), into=(None,))
        dx_part = dx._replace(array=dx_rows[part])
        targets = (dx_part.as_target(), dweight.as_target(), dbias.as_target())
        linear_backward(dhidden, (x[part], cache.weight, cache.bias), into=targets)
        dweight, dbias = dweight._replace(beta=1.0), dbias._replace(beta=1.0)  # the other rows add to the first
    return dx.result(), dweight.result(), dbias.result()
