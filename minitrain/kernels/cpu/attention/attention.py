"""Twins of ``ops.attention``: blocks of 64 queries against blocks of 64 keys.

A thread takes one head of one sample and goes through its blocks of queries. For each block it computes the scores,
their softmax and the weighted sum of values. Key blocks that no query of the block may attend to are skipped: a causal
mask halves the work, and a window makes it linear in the length of the text instead of quadratic.

Scores of more than ``KEYS`` keys would leave the second-level cache. So a block of queries takes that many keys at a
time: the softmax goes on from one part to the next, and what was summed so far is scaled whenever a row's maximum grows
(Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; Dao et al., FlashAttention, 2022). With no
more keys than that, there is one part. Beyond inputs and outputs, each thread needs (BLOCK, KEYS) numbers, and (D, S)
for each of its transposed arrays.

A query's output has the same bits however many queries there are beside it, and however many keys after those that it
may attend to: generation relies on it (``docs/generation.md``). So blocks of queries begin at multiples of BLOCK of
their positions among the keys, not of their place in the call. Sums over keys begin at a multiple of BLOCK, too, and
run over whole blocks: keys out of sight add zeros, and a key is always summed in the same lane of a register.

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
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.attention_blocks import (
    BLOCK,
    KEYS,
    NOTHING_SEEN,
    add_exponentials,
    add_transposed_times,
    block_span,
    clear,
    divide,
    row_span,
    row_stride,
    row_words,
    span,
    subtract_distances,
    times_rows,
    times_transposed,
    transpose,
    whole_blocks,
)
from ..common.gemm import available
from ..common.half import covered, factor, in_half, keep, narrow, round_row, store_rounded, widen
from ..common.math import assume_contiguous, chunk, exp_nonpositive, from_ordered_int, wide_vectors
from ..common.targets import heads, heads_slot

f4 = np.float32
NO_LENGTHS, NO_SLOPES = np.empty(0, np.int64), np.empty(0, f4)


def attention_forward(
    q: Array, k: Array, v: Array, bias: Array | None, *, causal: bool = False, key_lengths: Array | None = None,
    mask: Array | None = None, window: int | None = None, alibi_slopes: Array | None = None,
    softcap: float | None = None, scale: float | None = None, dropout: float = 0.0, key: Any = None,
) -> Any:  # fmt: skip
    """See ``ops.attention.attention_forward``."""
    if not _covered(q, k, v, bias, mask, softcap):
        return NotImplemented
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    (q, q_factor), (k, k_factor), (v, v_factor) = keep(q), keep(k), keep(v)
    B, T, H, _ = q.shape
    out, lse, half = empty(q.shape), empty((B, H, T)), in_half(q)
    _forward(
        heads(q_factor), heads(k_factor), heads(v_factor), _lengths(key_lengths), _slopes(alibi_slopes), out, lse,
        *_window_sizes(T, k.shape[1], causal, window), scale, *_dropout(dropout, key), half,
        threads_for(q.size * k.shape[1] / 32),
    )  # fmt: skip
    kept = narrow(out) if half else out
    options = (key_lengths, None, alibi_slopes, causal, window, None, scale, dropout, key)
    return out, (q, k, v, None, kept, lse, *options)


def attention_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target, None]) -> Any:
    """See ``ops.attention.attention_backward``."""
    q, k, v = cache.q, cache.k, cache.v
    if not _covered(q, k, v, cache.bias, cache.mask, cache.softcap):
        return NotImplemented
    half = in_half(q)
    slots = [heads_slot(target, x.shape) for target, x in zip(into, (q, k, v), strict=False)]
    _backward(
        *(heads(factor(x, half)) for x in (dout, q, k, v)),
        heads(dout), _lengths(cache.key_lengths), _slopes(cache.alibi_slopes), heads(widen(cache.out)), cache.lse,
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


def _slopes(alibi_slopes: Array | None) -> Array:
    return NO_SLOPES if alibi_slopes is None else np.ascontiguousarray(alibi_slopes, f4)


def _dropout(p: float, key: Any) -> tuple[int, float, int, int, int]:
    """Threshold (0: no dropout), factor, key and first sample."""
    return (0, 1.0, 0, 0, 0) if key is None or p == 0 else (round(p * 2**32), 1 / (1 - p), key.k0, key.k1, key.sample)


def _window_sizes(T: int, S: int, causal: bool, window: int | None) -> tuple[int, int]:
    """How many keys a query sees up to its own position, and from there on; its own counts in both."""
    back = T + S if window is None else min(int(window), T + S)  # T + S: no limit
    return back, 1 if causal else back


@kernel(
    "void(operand[:, :, :, :], operand[:, :, :, :], operand[:, :, :, :], i8[::1], f4[::1], f4[:, :, :, ::1], "
    "f4[:, :, ::1], i8, i8, f4, i8, f4, i8, i8, i8, b1, i8)"
)
def _forward(
    q, k, v, lengths, slopes, out, lse, back, ahead, scale, threshold, factor, k0, k1, first_sample, half, threads
):  # fmt: skip
    B, T, H, D = q.shape
    S, group = k.shape[1], H // k.shape[2]
    ldq, ldk, ldv = row_stride(q), row_stride(k), row_stride(v)
    bits = q.itemsize == 2  # operands are 16 bits, not rounded float32 numbers
    for t in prange(threads):
        scores = np.empty((BLOCK, whole_blocks(min(S, KEYS))), f4)
        rounded = np.empty((BLOCK if bits else 0, min(S, KEYS)), q.dtype)
        kt = np.empty((0 if bits else S // BLOCK + 1, D, BLOCK), f4)
        words = np.empty(whole_blocks(min(S, KEYS)) + 4, np.uint32)
        tops, totals = np.empty(BLOCK, np.int32), np.empty(BLOCK, f4)
        wide_vectors()
        lo, hi = chunk(B * H, t, threads)
        for task in range(lo, hi):
            b, h = task // H, task % H
            keys = min(S, lengths[b]) if lengths.size else S
            if not bits:
                transpose(k[b, :, h // group], keys, kt)
            for block in range(-((S - T) % BLOCK), T, BLOCK):  # a multiple of BLOCK as a position among the keys
                i0 = max(0, block)
                n = min(block + BLOCK, T) - i0
                start, stop = block_span(block, i0 - block + n, T, S, keys, back, ahead)
                tops[:n] = NOTHING_SEEN
                totals[:n] = 0
                for j0 in range(start, stop, KEYS):
                    j1 = min(j0 + KEYS, stop)
                    times_transposed(q[b, i0:, h], ldq, n, scale, k[b, :, h // group], ldk, kt, j0, j1, scores)
                    for i in range(n):
                        row = scores[i, : whole_blocks(j1 - j0)]
                        if slopes.size:
                            subtract_distances(row[: j1 - j0], slopes[h], i0 + i + S - T - j0)
                        first, last = row_span(i0 + i, j0, j1 - j0, T, S, keys, back, ahead)
                        add_exponentials(row, first, last, i, tops, totals, out[b, i0 + i, h], j0 > start)
                        if threshold > 0:
                            element = (h * T + i0 + i) * S + j0
                            w = words[row_words(words, element, row.size, first_sample + b, k0, k1) :]
                            for s in range(row.size):
                                row[s] = row[s] * factor if np.int64(w[s]) >= threshold else f4(0)
                        if bits:
                            store_rounded(row[: j1 - j0], rounded[i, : j1 - j0])
                        elif half:
                            round_row(row)
                    onto = f4(0) if j0 == start else f4(1)
                    times_rows(scores, rounded, n, j0, j1, 1.0, v[b, :, h // group], ldv, onto, out[b, i0:, h], H * D)
                for i in range(n):
                    first, last = span(i0 + i, T, S, keys, back, ahead)
                    highest = from_ordered_int(tops[i])
                    lse[b, h, i0 + i] = np.log(totals[i]) + highest if last > first else f4(-np.inf)
                    divide(out[b, i0 + i, h], totals[i], stop > start)


@kernel(
    "void(operand[:, :, :, :], operand[:, :, :, :], operand[:, :, :, :], operand[:, :, :, :], f4[:, :, :, :], "
    "i8[::1], f4[::1], f4[:, :, :, :], f4[:, :, ::1], f4[:, :, :, :], f4[:, :, :, :], f4[:, :, :, :], f4, f4, f4, "
    "i8, i8, f4, i8, f4, i8, i8, i8, b1, i8)"
)
def _backward(
    dout_factor, q, k, v, dout, lengths, slopes, out, lse, dq, dk, dv, dq_beta, dk_beta, dv_beta, back, ahead, scale,
    threshold, factor, k0, k1, first_sample, half, threads,
):  # fmt: skip
    B, T, H, D = q.shape
    S, G = k.shape[1], k.shape[2]
    group = H // G
    ldo, ldq, ldk, ldv = row_stride(dout_factor), row_stride(q), row_stride(k), row_stride(v)
    lddq, lddk, lddv = row_stride(dq), row_stride(dk), row_stride(dv)
    bits = q.itemsize == 2
    for t in prange(threads):
        p = np.empty((BLOCK, min(S, KEYS)), f4)
        ds = np.empty((BLOCK, min(S, KEYS)), f4)
        p_bits = np.empty((BLOCK if bits else 0, min(S, KEYS)), q.dtype)
        ds_bits = np.empty((BLOCK if bits else 0, min(S, KEYS)), q.dtype)
        kt = np.empty((0 if bits else S // BLOCK + 1, D, BLOCK), f4)
        vt = np.empty((0 if bits else S // BLOCK + 1, D, BLOCK), f4)
        words = np.empty((min(S, KEYS) + 7) // 4 * 4, np.uint32)
        deltas = np.empty(BLOCK, f4)
        wide_vectors()
        lo, hi = chunk(B * G, t, threads)  # a thread owns whole key heads, whose gradients sum over a group of queries
        for task in range(lo, hi):
            b, g = task // G, task % G
            keys = min(S, lengths[b]) if lengths.size else S
            if not bits:
                transpose(k[b, :, g], keys, kt)
                transpose(v[b, :, g], keys, vt)
            if dk_beta == 0:
                clear(dk[b, :, g])
            if dv_beta == 0:
                clear(dv[b, :, g])
            for h in range(g * group, (g + 1) * group):
                for i0 in range(0, T, BLOCK):
                    n = min(BLOCK, T - i0)
                    start, stop = block_span(i0, n, T, S, keys, back, ahead)
                    for i in range(n):
                        delta = f4(0)
                        dout_row, out_row = assume_contiguous(dout[b, i0 + i, h]), assume_contiguous(out[b, i0 + i, h])
                        for d in range(dout_row.size):
                            delta += dout_row[d] * out_row[d]
                        deltas[i] = delta
                    for j0 in range(start, stop, KEYS):
                        j1 = min(j0 + KEYS, stop)
                        times_transposed(q[b, i0:, h], ldq, n, scale, k[b, :, g], ldk, kt, j0, j1, p)
                        times_transposed(dout_factor[b, i0:, h], ldo, n, 1.0, v[b, :, g], ldv, vt, j0, j1, ds)
                        for i in range(n):
                            first, last = row_span(i0 + i, j0, j1 - j0, T, S, keys, back, ahead)
                            L = lse[b, h, i0 + i] if last > first else f4(0)
                            delta = deltas[i]
                            p_row, ds_row = p[i, : j1 - j0], ds[i, : j1 - j0]
                            if slopes.size:
                                subtract_distances(p_row, slopes[h], i0 + i + S - T - j0)
                            p_row[:first] = f4(-np.inf)
                            if threshold > 0:
                                element = (h * T + i0 + i) * S + j0
                                w = words[row_words(words, element, p_row.size, first_sample + b, k0, k1) :]
                                for s in range(p_row.size):
                                    keep = factor if np.int64(w[s]) >= threshold else f4(0)
                                    e = exp_nonpositive(p_row[s] - L)
                                    e = e if s < last else f4(0)
                                    ds_row[s] = e * (ds_row[s] * keep - delta)
                                    p_row[s] = e * keep
                            elif last == p_row.size:
                                for s in range(p_row.size):
                                    e = exp_nonpositive(p_row[s] - L)
                                    ds_row[s] = e * (ds_row[s] - delta)
                                    p_row[s] = e
                            else:
                                for s in range(p_row.size):
                                    e = exp_nonpositive(p_row[s] - L)
                                    e = e if s < last else f4(0)
                                    ds_row[s] = e * (ds_row[s] - delta)
                                    p_row[s] = e
                            if bits:
                                store_rounded(p_row, p_bits[i, : j1 - j0])
                                store_rounded(ds_row, ds_bits[i, : j1 - j0])
                            elif half:
                                round_row(p_row)
                                round_row(ds_row)
                        add_transposed_times(p, p_bits, n, j0, j1, 1.0, dout_factor[b, i0:, h], ldo, dv[b, :, g], lddv)
                        add_transposed_times(ds, ds_bits, n, j0, j1, scale, q[b, i0:, h], ldq, dk[b, :, g], lddk)
                        onto = dq_beta if j0 == start else f4(1)
                        times_rows(ds, ds_bits, n, j0, j1, scale, k[b, :, g], ldk, onto, dq[b, i0:, h], lddq)
                    if stop <= start and dq_beta == 0:
                        for i in range(n):
                            for d in range(D):
                                dq[b, i0 + i, h, d] = 0
