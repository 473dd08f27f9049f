"""Attention of one position over kept keys and values, with the sums of ``attention/attention.py`` in their order."""

from __future__ import annotations

import numpy as np

from ....backend.cpu._simd import WIDTH
from ....backend.cpu.jit import device
from ....backend.cpu.products._cblas import SIZE
from ....backend.cpu.products.sgemm import DEPTH, column_of_tiles
from ..common.attention_blocks import (
    BLOCK,
    KEYS,
    NOTHING_SEEN,
    add_exponentials,
    divide,
    subtract_distances,
    whole_blocks,
)

f4 = np.float32


@device
def append(k, v, row, keys, values):
    """Keep a key and a value (D,) in ``row`` of a head's keys (.., D, WIDTH) and values (.., rows, WIDTH)."""
    strip, lane = keys[row // WIDTH], row % WIDTH
    for d in range(k.size):
        strip[d, lane] = k[d]
        values[d // WIDTH, row, d % WIDTH] = v[d]


@device
def attend(q, group, place, first, back, scale, slopes, keys, values, scores, tops, totals, sums):
    """Attend from the queries of a group of heads at one position to the keys up to that position.

    Args:
        q: (group * D,) queries.
        group: how many there are.
        place: their position.
        first: the position in row 0 of the keys, a multiple of BLOCK.
        back: how many keys a query sees, including its own.
        scale: factor of the scores.
        slopes: (group,) slopes of ALiBi, or empty.
        keys: (rows / WIDTH, D, WIDTH) of the group's key head.
        values: (D / WIDTH, rows, WIDTH).
        scores: (group, KEYS) working memory.
        tops: (group,) int32 working memory.
        totals: (group,) working memory.
        sums: (group, D rounded up to WIDTH), the result.
    """
    D, ldv = keys.shape[1], values.shape[1] * WIDTH
    start = max(0, place // BLOCK * BLOCK - back + 1) // BLOCK * BLOCK - first
    stop, nearest = place + 1 - first, max(0, place - back + 1) - first
    for h in range(group):
        tops[h], totals[h] = NOTHING_SEEN, f4(0)
    for j0 in range(start, stop, KEYS):
        j1 = min(j0 + KEYS, stop)
        for j in range(j0, j1, WIDTH):
            column_of_tiles(
                False, False, group, D, q.ctypes.data, D, keys[j // WIDTH].ctypes.data, scale, f4(0),
                scores.ctypes.data + SIZE * (j - j0), scores.shape[1],
            )  # fmt: skip
        for h in range(group):
            row = scores[h, : whole_blocks(j1 - j0)]
            if slopes.size:
                subtract_distances(row[: j1 - j0], slopes[h], place - first - j0)
            add_exponentials(row, max(0, nearest - j0), j1 - j0, h, tops, totals, sums[h], j0 > start)
        for p in range(j0, j1, DEPTH):
            onto = f4(0) if p == start else f4(1)
            for d in range(0, D, WIDTH):
                column_of_tiles(
                    False, False, group, min(DEPTH, j1 - p), scores.ctypes.data + SIZE * (p - j0), scores.shape[1],
                    values.ctypes.data + SIZE * (d // WIDTH * ldv + p * WIDTH), f4(1), onto,
                    sums.ctypes.data + SIZE * d, sums.shape[1],
                )  # fmt: skip
    for h in range(group):
        divide(sums[h], totals[h], True)
