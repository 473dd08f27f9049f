"""Norms and rotations of single rows, as the kernels of the operations compute them: the same loops, the same bits."""

from __future__ import annotations

import numpy as np

from ....backend.cpu.jit import device
from ..common.math import inverse, inverse_root, mean_of

f4 = np.float32


@device
def normalize(row, weight, bias, eps, rms):
    """Replace a row (C,) by its root-mean-square norm or its layer norm; ``bias`` may be empty."""
    n = inverse(row.size)
    if rms:
        squares = f4(0)
        for c in range(row.size):
            squares += row[c] * row[c]
        k = inverse_root(mean_of(squares, n) + eps)
        for c in range(row.size):
            row[c] = row[c] * k * weight[c]
        return
    s = f4(0)
    for c in range(row.size):
        s += row[c]
    m, v = mean_of(s, n), f4(0)
    for c in range(row.size):
        v += (row[c] - m) * (row[c] - m)
    k = inverse_root(mean_of(v, n) + eps)
    if bias.size:
        for c in range(row.size):
            row[c] = (row[c] - m) * k * weight[c] + bias[c]
    else:
        for c in range(row.size):
            row[c] = (row[c] - m) * k * weight[c]


@device
def rotate(row, cos, sin):
    """Rotate a query or key (D,) in place by the angles whose cosines and sines (D / 2,) are given."""
    half = row.size // 2
    first, second = row[:half], row[half:]
    for i in range(half):
        a = first[i] * cos[i] - second[i] * sin[i]
        b = first[i] * sin[i] + second[i] * cos[i]
        first[i] = a
        second[i] = b
