"""Twins of ``ops.attention``: blocks of 64 queries against blocks of 64 keys.

A thread takes one head of one sample and goes through its blocks of queries. For each block it computes the scores,
their softmax and the weighted sum of values. Key blocks that no query of the block may attend to are skipped: a causal
mask halves the work, and a window makes it linear in the length of the text instead of quadratic. Beyond inputs and
outputs, each thread needs (BLOCK + 2 D, S) numbers of memory.

BLAS is fastest on small products when neither factor has to be transposed on the fly. So the keys of a head (and in
the backward its values) are transposed once, block by block, and all blocks of queries use the transposed blocks.

Queries, keys, values and their gradients may be views of one packed array: BLAS takes the stride between rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu._simd import LANES, transpose_block
from ....backend.cpu.jit import device, kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.gemm import available, gemm_nn, gemm_nt, gemm_tn
from ..common.half import covered, factor, in_half, keep, narrow, round_row, store_rounded, widen
from ..common.math import assume_contiguous, chunk, exp_nonpositive, from_ordered_int, to_ordered_int, wide_vectors
from ..common.random import fill_words
from ..common.targets import heads, heads_slot

f4 = np.float32
BLOCK = 64  # queries, and keys, at once
NO_LENGTHS = np.empty(0, np.int64)


def attention_forward(
    q: Array, k: Array, v: Array, bias: Array | None, *, causal: bool = False, key_lengths: Array | None = None,
    mask: Array | None = None, window: int | None = None, alibi_slopes: Array | None = None,
    softcap: float | None = None, scale: float | None = None, dropout: float = 0.0, key: Any = None,
) -> Any:  # fmt: skip
    """See ``ops.attention.attention_forward``."""
    if not _covered(q, k, v, bias, mask, alibi_slopes, softcap):
        return NotImplemented
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    (q, q_factor), (k, k_factor), (v, v_factor) = keep(q), keep(k), keep(v)
    B, T, H, _ = q.shape
    out, lse, half = empty(q.shape), empty((B, H, T)), in_half(q)
    _forward(
        heads(q_factor), heads(k_factor), heads(v_factor), _lengths(key_lengths), out, lse,
        *_window_sizes(T, k.shape[1], causal, window), scale, *_dropout(dropout, key), half,
        threads_for(q.size * k.shape[1] / 32),
    )  # fmt: skip
    kept = narrow(out) if half else out
    return out, (q, k, v, None, kept, lse, key_lengths, None, None, causal, window, None, scale, dropout, key)


def attention_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target, None]) -> Any:
    """See ``ops.attention.attention_backward``."""
    q, k, v = cache.q, cache.k, cache.v
    if not _covered(q, k, v, cache.bias, cache.mask, cache.alibi_slopes, cache.softcap):
        return NotImplemented
    half = in_half(q)
    slots = [heads_slot(target, x.shape) for target, x in zip(into, (q, k, v), strict=False)]
    _backward(
        *(heads(factor(x, half)) for x in (dout, q, k, v)),
        heads(dout), _lengths(cache.key_lengths), heads(widen(cache.out)), cache.lse,
        *(slot.array for slot in slots), *(slot.beta for slot in slots),
        *_window_sizes(q.shape[1], k.shape[1], cache.causal, cache.window), cache.scale,
        *_dropout(cache.dropout, cache.key), half, threads_for(q.size * k.shape[1] / 32),
    )  # fmt: skip
    return (*(slot.result() for slot in slots), None)


def _covered(q: Array, k: Array, v: Array, *left_to_reference: Any) -> bool:
    if not available or q.size == 0 or k.size == 0 or not covered(q, k, v):
        return False
    return in_half(q) == in_half(k) == in_half(v) and all(option is None for option in left_to_reference)


def _lengths(key_lengths: Array | None) -> Array:
    return NO_LENGTHS if key_lengths is None else np.ascontiguousarray(key_lengths, np.int64)


def _dropout(p: float, key: Any) -> tuple[int, float, int, int, int]:
    """Threshold (0: no dropout), factor, key and first sample."""
    return (0, 1.0, 0, 0, 0) if key is None or p == 0 else (round(p * 2**32), 1 / (1 - p), key.k0, key.k1, key.sample)


def _window_sizes(T: int, S: int, causal: bool, window: int | None) -> tuple[int, int]:
    """How many keys a query sees up to its own position, and from there on; its own counts in both."""
    back = T + S if window is None else min(int(window), T + S)  # T + S: no limit
    return back, 1 if causal else back


@device
def _row_stride(x):
    """Elements from one row of a head to the next. If there is one row, its stride is arbitrary and is not used."""
    return max(x.strides[1] // x.itemsize, x.shape[3])


@device
def _span(row, T, S, keys, back, ahead):
    """The keys [first, last) that query ``row`` may attend to, out of ``keys``. Both bounds grow with ``row``."""
    place = row + S - T
    last = max(0, min(keys, place + ahead))
    return min(last, max(0, place - back + 1)), last


@device
def _block_span(i0, n, T, S, keys, back, ahead):
    """The keys [start, stop) that the ``n`` queries from ``i0`` on may attend to; ``start`` begins a key block."""
    first, _ = _span(i0, T, S, keys, back, ahead)
    _, stop = _span(i0 + n - 1, T, S, keys, back, ahead)
    return first // BLOCK * BLOCK, stop


@device
def _row_span(row, start, T, S, keys, back, ahead):
    """Like ``_span``, but counted from the start of the block's keys."""
    first, last = _span(row, T, S, keys, back, ahead)
    return first - start, last - start


@device
def _row_words(words, element, n, sample, k0, k1):
    """Fill ``words`` with the random words of ``n`` probabilities of a sample (H, T, S), from ``element`` on.

    Returns:
        Where in ``words`` they begin.
    """
    first = element // 4 * 4
    fill_words(words[: (n + 7) // 4 * 4], first, sample, k0, k1)
    return element - first


@device
def _transpose(x, n, out):
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
def _clear(x):
    """Set x (S, D) to zero; its rows are contiguous."""
    for s in range(x.shape[0]):
        row = assume_contiguous(x[s])
        for d in range(row.size):
            row[d] = 0


@device
def _times_transposed(x, ld, rows, scale, y, ldy, blocks, start, stop, out):
    """Out (rows, start:stop) = scale x (rows, D) y (S, D)^T, those columns; ``blocks`` has y in transposed blocks.

    The product of 16-bit operands transposes while it packs, and there are no blocks.
    """
    D, size = y.shape[1], out.shape[1]
    if x.itemsize == 2:
        if stop > start:
            gemm_nt(rows, stop - start, D, scale, x, ld, y[start:], ldy, 0.0, out[:, start:], size)
        return
    for j in range(start, stop, BLOCK):
        gemm_nn(rows, min(BLOCK, stop - j), D, scale, x, ld, blocks[j // BLOCK], BLOCK, 0.0, out[:, j:], out.shape[1])


@device
def _times_rows(x, bits, rows, start, stop, scale, y, ldy, beta, out, ldo):
    """Out (rows, D) = scale x (rows, start:stop) y (start:stop, D) + beta out; ``bits`` has x in 16 bits, if y has."""
    D, S, n = y.shape[1], x.shape[1], stop - start
    if y.itemsize == 2:
        gemm_nn(rows, D, n, scale, bits[:, start:], S, y[start:], ldy, beta, out, ldo)
    else:
        gemm_nn(rows, D, n, scale, x[:, start:], S, y[start:], ldy, beta, out, ldo)


@device
def _add_transposed_times(x, bits, rows, start, stop, scale, y, ldy, out, ldo):
    """Out (start:stop, D) += scale x (rows, start:stop)^T y (rows, D); ``bits`` has x in 16 bits, if y has."""
    D, S, n = y.shape[1], x.shape[1], stop - start
    if y.itemsize == 2:
        gemm_tn(n, D, rows, scale, bits[:, start:], S, y, ldy, 1.0, out[start:], ldo)
    else:
        gemm_tn(n, D, rows, scale, x[:, start:], S, y, ldy, 1.0, out[start:], ldo)


@kernel(
    "void(operand[:, :, :, :], operand[:, :, :, :], operand[:, :, :, :], i8[::1], f4[:, :, :, ::1], f4[:, :, ::1], "
    "i8, i8, f4, i8, f4, i8, i8, i8, b1, i8)"
)
def _forward(q, k, v, lengths, out, lse, back, ahead, scale, threshold, factor, k0, k1, first_sample, half, threads):
    B, T, H, D = q.shape
    S, group = k.shape[1], H // k.shape[2]
    ldq, ldk, ldv = _row_stride(q), _row_stride(k), _row_stride(v)
    bits = q.itemsize == 2  # operands are 16 bits, not rounded float32 numbers
    for t in prange(threads):
        scores = np.empty((BLOCK, S), f4)
        rounded = np.empty((BLOCK if bits else 0, S), q.dtype)
        kt = np.empty((0 if bits else S // BLOCK + 1, D, BLOCK), f4)
        words = np.empty((S + 7) // 4 * 4, np.uint32)
        totals = np.empty(BLOCK, f4)
        wide_vectors()
        lo, hi = chunk(B * H, t, threads)
        for task in range(lo, hi):
            b, h = task // H, task % H
            keys = min(S, lengths[b]) if lengths.size else S
            if not bits:
                _transpose(k[b, :, h // group], keys, kt)
            for i0 in range(0, T, BLOCK):
                n = min(BLOCK, T - i0)
                start, stop = _block_span(i0, n, T, S, keys, back, ahead)
                _times_transposed(q[b, i0:, h], ldq, n, scale, k[b, :, h // group], ldk, kt, start, stop, scores)
                for i in range(n):
                    row = scores[i, start:stop]
                    first, last = _row_span(i0 + i, start, T, S, keys, back, ahead)
                    row[:first] = f4(-np.inf)
                    top = to_ordered_int(f4(-np.inf))
                    for s in range(row.size):  # whole rows, not [:last]: they fill the vectors
                        row[s] = row[s] if s < last else f4(-np.inf)
                        n_s = to_ordered_int(row[s])
                        top = n_s if n_s > top else top
                    highest = from_ordered_int(top) if last > first else f4(0)
                    total = f4(0)
                    for s in range(row.size):
                        row[s] = exp_nonpositive(row[s] - highest)
                        total += row[s]
                    totals[i] = total
                    lse[b, h, i0 + i] = np.log(total) + highest if last > first else f4(-np.inf)
                    if threshold > 0:
                        element = (h * T + i0 + i) * S + start
                        w = words[_row_words(words, element, row.size, first_sample + b, k0, k1) :]
                        for s in range(row.size):
                            row[s] = row[s] * factor if np.int64(w[s]) >= threshold else f4(0)
                    if bits:
                        store_rounded(row, rounded[i, start:stop])
                    elif half:
                        round_row(row)
                if stop > start:
                    _times_rows(
                        scores, rounded, n, start, stop, 1.0, v[b, :, h // group], ldv, 0.0, out[b, i0:, h], H * D
                    )
                for i in range(n):
                    inverse = f4(1) / totals[i] if totals[i] != 0 else f4(0)
                    out_row = out[b, i0 + i, h]
                    for d in range(out_row.size):
                        out_row[d] = out_row[d] * inverse if stop > start else f4(0)


@kernel(
    "void(operand[:, :, :, :], operand[:, :, :, :], operand[:, :, :, :], operand[:, :, :, :], f4[:, :, :, :], "
    "i8[::1], f4[:, :, :, :], f4[:, :, ::1], f4[:, :, :, :], f4[:, :, :, :], f4[:, :, :, :], f4, f4, f4, i8, i8, "
    "f4, i8, f4, i8, i8, i8, b1, i8)"
)
def _backward(
    dout_factor, q, k, v, dout, lengths, out, lse, dq, dk, dv, dq_beta, dk_beta, dv_beta, back, ahead, scale,
    threshold, factor, k0, k1, first_sample, half, threads,
):  # fmt: skip
    B, T, H, D = q.shape
    S, G = k.shape[1], k.shape[2]
    group = H // G
    ldo, ldq, ldk, ldv = _row_stride(dout_factor), _row_stride(q), _row_stride(k), _row_stride(v)
    lddq, lddk, lddv = _row_stride(dq), _row_stride(dk), _row_stride(dv)
    bits = q.itemsize == 2
    for t in prange(threads):
        p = np.empty((BLOCK, S), f4)
        ds = np.empty((BLOCK, S), f4)
        p_bits = np.empty((BLOCK if bits else 0, S), q.dtype)
        ds_bits = np.empty((BLOCK if bits else 0, S), q.dtype)
        kt = np.empty((0 if bits else S // BLOCK + 1, D, BLOCK), f4)
        vt = np.empty((0 if bits else S // BLOCK + 1, D, BLOCK), f4)
        words = np.empty((S + 7) // 4 * 4, np.uint32)
        wide_vectors()
        lo, hi = chunk(B * G, t, threads)  # a thread owns whole key heads, whose gradients sum over a group of queries
        for task in range(lo, hi):
            b, g = task // G, task % G
            keys = min(S, lengths[b]) if lengths.size else S
            if not bits:
                _transpose(k[b, :, g], keys, kt)
                _transpose(v[b, :, g], keys, vt)
            if dk_beta == 0:
                _clear(dk[b, :, g])
            if dv_beta == 0:
                _clear(dv[b, :, g])
            for h in range(g * group, (g + 1) * group):
                for i0 in range(0, T, BLOCK):
                    n = min(BLOCK, T - i0)
                    start, stop = _block_span(i0, n, T, S, keys, back, ahead)
                    _times_transposed(q[b, i0:, h], ldq, n, scale, k[b, :, g], ldk, kt, start, stop, p)
                    _times_transposed(dout_factor[b, i0:, h], ldo, n, 1.0, v[b, :, g], ldv, vt, start, stop, ds)
                    for i in range(n):
                        first, last = _row_span(i0 + i, start, T, S, keys, back, ahead)
                        delta = f4(0)
                        dout_row, out_row = assume_contiguous(dout[b, i0 + i, h]), assume_contiguous(out[b, i0 + i, h])
                        for d in range(dout_row.size):
                            delta += dout_row[d] * out_row[d]
                        L = lse[b, h, i0 + i] if last > first else f4(0)
                        p_row, ds_row = p[i, start:stop], ds[i, start:stop]
                        p_row[:first] = f4(-np.inf)
                        if threshold > 0:
                            element = (h * T + i0 + i) * S + start
                            w = words[_row_words(words, element, p_row.size, first_sample + b, k0, k1) :]
                            for s in range(p_row.size):
                                keep = factor if np.int64(w[s]) >= threshold else f4(0)
                                e = exp_nonpositive(p_row[s] - L)
                                e = e if s < last else f4(0)
                                ds_row[s] = e * (ds_row[s] * keep - delta)
                                p_row[s] = e * keep
                        else:
                            for s in range(p_row.size):
                                e = exp_nonpositive(p_row[s] - L)
                                e = e if s < last else f4(0)
                                ds_row[s] = e * (ds_row[s] - delta)
                                p_row[s] = e
                        if bits:
                            store_rounded(p_row, p_bits[i, start:stop])
                            store_rounded(ds_row, ds_bits[i, start:stop])
                        elif half:
                            round_row(p_row)
                            round_row(ds_row)
                    _add_transposed_times(
                        p, p_bits, n, start, stop, 1.0, dout_factor[b, i0:, h], ldo, dv[b, :, g], lddv
                    )
                    _add_transposed_times(ds, ds_bits, n, start, stop, scale, q[b, i0:, h], ldq, dk[b, :, g], lddk)
                    if stop > start:
                        _times_rows(ds, ds_bits, n, start, stop, scale, k[b, :, g], ldk, dq_beta, dq[b, i0:, h], lddq)
                    elif dq_beta == 0:
                        for i in range(n):
                            for d in range(D):
                                dq[b, i0 + i, h, d] = 0
