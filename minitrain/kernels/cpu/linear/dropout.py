"""Twins of ``ops.dropout``: the random words of a block are generated in cache and used at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import chunk
from ..common.random import fill_words
from ..common.targets import slot

BLOCK = 1024  # elements, a multiple of 4


def dropout_forward(x: Array, *, p: float, key: Any) -> Any:
    """See ``ops.dropout.dropout_forward``."""
    if key is None or p == 0 or x.size == 0:
        return NotImplemented
    out = empty(x.shape)
    _apply(_samples(np.ascontiguousarray(x)), _samples(out), 0.0, p, key)
    return out, (p, key)


def dropout_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.dropout.dropout_backward``."""
    if cache.key is None or cache.p == 0 or dout.size == 0:
        return NotImplemented
    dx = slot(into[0], dout.shape)
    if dx.array.size:
        _apply(_samples(np.ascontiguousarray(dout)), _samples(dx.array), dx.beta, cache.p, cache.key)
    return dx.result()


def _samples(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)  # (B, ...) -> (B, n)


def _apply(x: Array, out: Array, beta: float, p: float, key: Any) -> None:
    _kernel(x, out, beta, round(p * 2**32), 1 / (1 - p), key.k0, key.k1, key.sample, threads_for(x.size))


@kernel("void(f4[:, ::1], f4[:, ::1], f4, i8, f4, i8, i8, i8, i8)")
def _kernel(x, out, beta, threshold, scale, k0, k1, first_sample, threads):
    B, n = x.shape
    blocks = (n + BLOCK - 1) // BLOCK
    for t in prange(threads):
        words = np.empty(BLOCK, np.uint32)
        lo, hi = chunk(B * blocks, t, threads)
        for task in range(lo, hi):
            b = task // blocks
            first = task % blocks * BLOCK
            fill_words(words, first, first_sample + b, k0, k1)
            source, target = x[b, first : first + BLOCK], out[b, first : first + BLOCK]
            for i in range(source.size):
                value = source[i] * scale if np.int64(words[i]) >= threshold else np.float32(0)
                target[i] = value + target[i] if beta != 0 else value
