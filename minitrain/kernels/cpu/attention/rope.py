"""Twins of ``ops.rope``. A head may be a slice of packed queries, keys and values; it is not copied first.

Computing cosines and sines takes longer than the rotation. All layers of a model use the same angles, so the tables of
the latest calls are cached. They are read-only.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import assume_contiguous, chunk, wide_vectors
from ..common.targets import heads, heads_slot

f4 = np.float32


def rope_forward(
    x: Array,
    positions: Array,
    *,
    base: float = 10000.0,
    scaling: float = 1.0,
    frequencies: tuple[float, ...] | None = None,
) -> Any:
    """See ``ops.rope.rope_forward``."""
    if x.size == 0:
        return NotImplemented
    wide = np.ascontiguousarray(positions, np.int64)
    cos, sin = _tables(wide.tobytes(), positions.shape, x.shape[-1], base, scaling, frequencies)
    out = empty(x.shape)
    _rotate(heads(x), _points(cos), _points(sin), 1.0, out, 0.0, threads_for(x.size))
    return out, (cos, sin)


@functools.lru_cache(maxsize=4)
def _tables(
    positions: bytes,
    shape: tuple[int, ...],
    D: int,
    base: float,
    scaling: float,
    frequencies: tuple[float, ...] | None,
) -> tuple[Array, Array]:
    """Cosines and sines (..., T, 1, D/2) of the angles, as the reference computes them."""
    places = np.frombuffer(positions, np.int64).reshape(shape)[..., None, None]  # (..., T, 1, 1)
    frequency = base ** (-np.arange(0, D, 2) / D) if frequencies is None else np.asarray(frequencies)  # (D/2,)
    angle = places / scaling * frequency
    return np.cos(angle).astype(f4), np.sin(angle).astype(f4)


def rope_backward(dout: Array, cache: Any, *, into: tuple[Target, None]) -> Any:
    """See ``ops.rope.rope_backward``."""
    if dout.size == 0:
        return NotImplemented
    dx = heads_slot(into[0], dout.shape)
    _rotate(heads(dout), _points(cache.cos), _points(cache.sin), -1.0, dx.array, dx.beta, threads_for(dout.size))
    return dx.result(), None


def _points(table: Array) -> Array:
    """(..., T, 1, D/2) -> (T or B T, D/2)."""
    return np.ascontiguousarray(table).reshape(-1, table.shape[-1])


@kernel("void(f4[:, :, :, :], f4[:, ::1], f4[:, ::1], f4, f4[:, :, :, :], f4, i8)")
def _rotate(x, cos, sin, sign, out, beta, threads):
    B, T, H, D = x.shape
    half = D // 2
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(B * T, t, threads)
        for row in range(lo, hi):
            c, s = cos[row % len(cos)], sin[row % len(sin)]  # samples that share their positions share the table
            for h in range(H):
                source, target = (
                    assume_contiguous(x[row // T, row % T, h]),
                    assume_contiguous(out[row // T, row % T, h]),
                )
                first, second = source[:half], source[half:]
                to_first, to_second = target[:half], target[half:]
                for i in range(half):
                    a = first[i] * c[i] - sign * second[i] * s[i]
                    b = sign * first[i] * s[i] + second[i] * c[i]
                    to_first[i] = a + to_first[i] if beta != 0 else a
                    to_second[i] = b + to_second[i] if beta != 0 else b
