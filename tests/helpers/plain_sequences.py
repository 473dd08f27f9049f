"""Joining, cutting and averaging sequences, restated element by element."""

import numpy as np


def moved(i, axis, by):
    return *i[: axis % len(i)], i[axis] + by, *i[axis % len(i) + 1 :]


def concat(x, y, *, axis):
    shape, n = list(x.shape), x.shape[axis]
    shape[axis] += y.shape[axis]
    out = np.zeros(shape)
    for i in np.ndindex(*shape):
        out[i] = x[i] if i[axis] < n else y[moved(i, axis, -n)]
    return out


def split(x, *, at, axis):
    parts = []
    for start, size in ((0, at), (at, x.shape[axis] - at)):
        shape = list(x.shape)
        shape[axis] = size
        parts.append(np.zeros(shape))
        for i in np.ndindex(*shape):
            parts[-1][i] = x[moved(i, axis, start)]
    return tuple(parts)


def mean_pool(x, *, mask=None, key_lengths=None):
    B, T, C = x.shape
    out = np.zeros((B, C))
    for b in range(B):
        rows = [
            x[b, t] for t in range(T) if (mask is None or mask[b, t]) and (key_lengths is None or t < key_lengths[b])
        ]
        if rows:
            out[b] = sum(rows) / len(rows)
    return out


PLAIN = {"concat": concat, "split": split, "mean_pool": mean_pool}
