"""Twins of ``ops.linear_gelu``: GELU is applied to a block of the product as soon as it is there.

The backward is the two simple twins in turn: the weight's gradient needs GELU's for all rows first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ...backend.arrays import Array
from ...backend.jit import kernel
from ...backend.pool import empty
from ...backend.targets import Target
from ...backend.threads import thread_count
from ._elementwise import gelu
from ._gemm import available, gemm_nt
from ._math import chunk
from ._targets import NONE, rows
from .gelu import gelu_backward
from .linear import linear_backward

TILE = 192  # rows of the product that GELU follows at once: few enough to stay in the second-level cache


def linear_gelu_forward(x: Array, weight: Array, bias: Array | None, *, approximate: str = "tanh") -> Any:
    """See ``ops.linear_gelu.linear_gelu_forward``."""
    if not available or x.shape[-1] == 0:
        return NotImplemented
    hidden = empty((*x.shape[:-1], weight.shape[0]))
    out = empty(hidden.shape)
    _forward(
        rows(x), rows(weight), NONE if bias is None else np.ascontiguousarray(bias), rows(hidden), rows(out),
        approximate == "tanh", thread_count(),
    )  # fmt: skip
    return out, (x, weight, bias, hidden, approximate)


@kernel("void(f4[:, ::1], f4[:, ::1], f4[::1], f4[:, ::1], f4[:, ::1], b1, i8)")
def _forward(x, weight, bias, hidden, out, tanh, threads):
    R, K = x.shape
    N = weight.shape[0]
    for t in prange(threads):
        lo, hi = chunk(R, t, threads)
        for r0 in range(lo, hi, TILE):
            r1 = min(hi, r0 + TILE)
            gemm_nt(r1 - r0, N, K, 1.0, x[r0:], K, weight, K, 0.0, hidden[r0:], N)
            if bias.size:
                for r in range(r0, r1):
                    for c in range(N):
                        hidden[r, c] += bias[c]
            gelu(hidden[r0:r1].reshape(-1), out[r0:r1].reshape(-1), tanh)


def linear_gelu_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.linear_gelu.linear_gelu_backward``."""
    if not available or dout.size == 0:
        return NotImplemented
    dhidden = gelu_backward(dout, _Gelu(cache), into=(None,))
    return linear_backward(dhidden, (cache.x, cache.weight, cache.bias), into=into)


class _Gelu:
    """The part of the cache that belongs to GELU."""

    def __init__(self, cache: Any) -> None:
        self.x, self.approximate = cache.hidden, cache.approximate
