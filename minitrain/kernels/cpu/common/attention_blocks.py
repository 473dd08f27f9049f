"""Parts of the attention kernels: which keys a query sees, products of blocks, and the masked maximum of a row."""

from __future__ import annotations

import numpy as np

from ....backend.cpu._simd import LANES, transpose_block
from ....backend.cpu.jit import device
from .gemm import gemm_nn, gemm_nt, gemm_tn
from .math import assume_contiguous, exp_nonpositive, from_ordered_int, to_ordered_int
from .random import fill_words

f4 = np.float32
BLOCK = 64  # queries, and keys, at once
KEYS = 512  # whose scores are kept at once, a multiple of BLOCK and of a product's DEPTH
NOTHING_SEEN = np.int32(-0x7F800001)  # -infinity as an ordered integer


@device
def row_stride(x):
    """Elements from one row of a head to the next. If there is one row, its stride is arbitrary and is not used."""
    return max(x.strides[1] // x.itemsize, x.shape[3])


@device
def span(row, T, S, keys, back, ahead):
    """The keys [first, last) that query ``row`` may attend to, out of ``keys``. Both bounds grow with ``row``."""
    place = row + S - T
    last = max(0, min(keys, place + ahead))
    return min(last, max(0, place - back + 1)), last


@device
def block_span(i0, n, T, S, keys, back, ahead):
    """The keys [start, stop) that the ``n`` queries from ``i0`` on may attend to; ``start`` begins a key block."""
    first, _ = span(i0, T, S, keys, back, ahead)
    _, stop = span(i0 + n - 1, T, S, keys, back, ahead)
    return first // BLOCK * BLOCK, stop


@device
def row_span(row, start, size, T, S, keys, back, ahead):
    """Like ``span``, but counted from ``start`` on, and within the ``size`` keys from there."""
    first, last = span(row, T, S, keys, back, ahead)
    first, last = min(size, max(0, first - start)), min(size, max(0, last - start))
    return first, last


@device
def whole_blocks(n):
    """``n`` rounded up to whole blocks."""
    return (n + BLOCK - 1) // BLOCK * BLOCK


@device
def subtract_distances(row, slope, place):
    """ALiBi: lower the scores of a row by ``slope`` times their distance from the query, which is at ``place``."""
    for s in range(row.size):
        row[s] -= slope * f4(abs(np.int32(place) - np.int32(s)))


@device
def row_words(words, element, n, sample, k0, k1):
    """Fill ``words`` with the random words of ``n`` probabilities of a sample (H, T, S), from ``element`` on.

    Returns:
        Where in ``words`` they begin.
    """
    first = element // 4 * 4
    fill_words(words[: (n + 7) // 4 * 4], first, sample, k0, k1)
    return element - first


@device
def transpose(x, n, out):
    """Transpose the first ``n`` rows of x (S, D) in blocks, into out (blocks, D, BLOCK)."""
    D = x.shape[1]
    rows, columns = n // LANES * LANES, D // LANES * LANES  # the part that is transposed in registers
    for s in range(0, rows, LANES):
        block = out[s // BLOCK].ctypes.data + 4 * (s % BLOCK)
        for d in range(0, columns, LANES):
            transpose_block(x[s:].ctypes.data + 4 * d, x.strides[0] // 4, block + 4 * d * BLOCK, BLOCK)
    for s in range(n):
        block, column = out[s // BLOCK], s % BLOCK
        for d in range(columns if s < rows else 0, D):
            block[d, column] = x[s, d]


@device
def clear(x):
    """Set x (S, D) to zero; its rows are contiguous."""
    for s in range(x.shape[0]):
        row = assume_contiguous(x[s])
        for d in range(row.size):
            row[d] = 0


@device
def times_transposed(x, ld, rows, scale, y, ldy, blocks, start, stop, out):
    """Out (rows, stop - start) = scale x (rows, D) y (start:stop, D)^T; ``blocks`` has y transposed in blocks.

    The product of 16-bit operands transposes while it packs: it needs no blocks.
    """
    D, ldo = y.shape[1], out.shape[1]
    if x.itemsize == 2:
        gemm_nt(rows, stop - start, D, scale, x, ld, y[start:], ldy, 0.0, out, ldo)
        return
    for j in range(start, stop, BLOCK):
        n = min(BLOCK, stop - j)
        gemm_nn(rows, n, D, scale, x, ld, blocks[j // BLOCK], BLOCK, 0.0, out[:, j - start :], ldo)


@device
def times_rows(x, bits, rows, start, stop, scale, y, ldy, beta, out, ldo):
    """Out (rows, D) = scale x (rows, stop - start) y (start:stop, D) + beta out; ``bits`` has x if y has 16 bits."""
    if y.itemsize == 2:
        gemm_nn(rows, y.shape[1], stop - start, scale, bits, bits.shape[1], y[start:], ldy, beta, out, ldo)
    else:
        gemm_nn(rows, y.shape[1], stop - start, scale, x, x.shape[1], y[start:], ldy, beta, out, ldo)


@device
def add_transposed_times(x, bits, rows, start, stop, scale, y, ldy, out, ldo):
    """Out (start:stop, D) += scale x (rows, stop - start)^T y (rows, D); ``bits`` has x if y has 16 bits."""
    if y.itemsize == 2:
        gemm_tn(stop - start, y.shape[1], rows, scale, bits, bits.shape[1], y, ldy, 1.0, out[start:], ldo)
    else:
        gemm_tn(stop - start, y.shape[1], rows, scale, x, x.shape[1], y, ldy, 1.0, out[start:], ldo)


@device
def masked_maximum(row, first, last):
    """Mask a row of scores outside of [first, last) with -inf; its largest score, as an ordered integer."""
    top = NOTHING_SEEN
    if first == 0 and last == row.size:
        for s in range(row.size):
            n = to_ordered_int(row[s])
            top = n if n > top else top
        return top
    row[:first] = f4(-np.inf)
    for s in range(row.size):  # whole rows, not [:last]: they fill the vectors
        row[s] = row[s] if s < last else f4(-np.inf)
        n = to_ordered_int(row[s])
        top = n if n > top else top
    return top


@device
def add_exponentials(row, first, last, i, tops, totals, out_row, later):
    """Replace a row of scores by its exponentials, which are 0 outside of [first, last), and add them to its total.

    They are relative to the highest score so far. If a ``later`` part of the keys has a higher one, what was summed
    before, ``totals[i]`` and ``out_row``, is scaled down.
    """
    before = tops[i]
    top = max(before, masked_maximum(row, first, last))
    highest = from_ordered_int(top) if last > first or before > NOTHING_SEEN else f4(0)
    total = f4(0)
    for s in range(row.size):
        row[s] = exp_nonpositive(row[s] - highest)
        total += row[s]
    if later and top > before:
        smaller = exp_nonpositive(from_ordered_int(before) - highest)
        totals[i] *= smaller
        for d in range(out_row.size):
            out_row[d] *= smaller
    tops[i] = top
    totals[i] += total


@device
def divide(out_row, total, seen):
    """Divide the weighted sum of values by the total of its weights; 0 for a query that sees nothing."""
    inverse = f4(1) / total if total != 0 else f4(0)
    for d in range(out_row.size):
        out_row[d] = out_row[d] * inverse if seen else f4(0)
