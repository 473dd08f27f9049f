"""One step of a decoder in one call: some new tokens of some sequences in, the logits of what follows out.

A layer takes five parallel loops, each over the columns of a product or over key heads::

    qkv  = norm1(stream) QKV^T            out    = attended OUT^T              branch = hidden DOWN^T
    attended = attention(qkv, past)       hidden = activation(norm2(stream) UP^T)

The residual stream is small, so each thread keeps a copy of it, adds the branches to it and normalises it by itself:
that takes less time than waiting for another thread.

Every number is computed as by the operations that the layers call: the same sums in the same order, so the same bits.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ....backend.cpu.jit import device, kernel
from ..common.attention_blocks import KEYS
from ..common.elementwise import gelu, silu
from ..common.math import chunk, wide_vectors
from ._attend import append, attend
from ._layout import ABSENT, WIDTH, Entry
from ._panels import multiply
from ._rows import normalize, rotate

f4 = np.float32
(
    NORM1, NORM1_BIAS, QKV, QKV_BIAS, Q_NORM, K_NORM, OUT, OUT_BIAS,
    NORM2, NORM2_BIAS, ACTIVATED, ACTIVATED_BIAS, UP, UP_BIAS, DOWN, DOWN_BIAS,
    QKV_SCALE, OUT_SCALE, ACTIVATED_SCALE, UP_SCALE, DOWN_SCALE,
) = map(int, Entry)  # fmt: skip
BLOCK_EPS, HEADS_EPS, FINAL_EPS = range(3)


@device
def _vector(vectors, begin, n):
    """The vector (n,) that begins there; empty if it is absent."""
    return vectors[:0] if begin == ABSENT else vectors[begin : begin + n]


@device
def _scale_and_bias(vectors, entry, scale, bias, n):
    """The scales and the bias (n,) of a matrix's rows; each is empty if it is absent."""
    return _vector(vectors, entry[scale], n), _vector(vectors, entry[bias], n)


@device
def _columns(n, part, parts):
    """The columns that ``part`` of ``parts`` computes, in whole blocks of 64, as ``aligned_chunk`` splits elements."""
    blocks = (n + 63) // 64
    lo, hi = blocks * part // parts * 64, blocks * (part + 1) // parts * 64
    end = (n + WIDTH - 1) // WIDTH * WIDTH
    return min(lo, end), min(hi, end)


@device
def _add_and_normalize(stream, branch, later, normed, weight, bias, eps, rms):
    """Stream (N, C) += branch, where there is one; normed = its norm."""
    N, C = stream.shape
    for i in range(N):
        row, copy = stream[i], normed[i]
        if later:
            added = branch[i, :C]
            for c in range(C):
                row[c] += added[c]
        for c in range(C):
            copy[c] = row[c]
        normalize(copy, weight, bias, eps, rms)


@kernel(
    "void(operand[::1], f4[::1], i8[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], "
    "f4[:, :, :, :, :, ::1], f4[:, :, :, :, :, ::1], i8[:, ::1], i8[:, ::1], i8[::1], i8, i8, i8, i8, f4[::1], b1, b1, "
    "f4[:, :, ::1], f4[:, :, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[:, ::1], i8)",
    forms=("float32", "bfloat16", "int8"),
)
def step(
    panels, vectors, table, embedding, places, cos, sin, slopes,
    keys, values, new, spans, wanted, heads, hidden_width, vocabulary, back, eps, rms, tanh,
    stream, normed, qkv, attended, branch, before, hidden, logits, threads,
):  # fmt: skip
    """Extend sequences by the tokens ``new``, and compute the logits after the ``wanted`` ones.

    Args:
        panels: (n,) all matrices, see ``_layout.py``.
        vectors: (n,) all biases and norms.
        table: (layers + 1, 21) where they begin.
        embedding: (V, C) vectors of the tokens.
        places: (positions, C) vectors that are added to them, or no rows.
        cos: (positions, D / 2) cosines of the rotary angles, or no rows.
        sin: likewise.
        slopes: (H,) of ALiBi, or empty.
        keys: (layers, slots, Hkv, rows / WIDTH, D, WIDTH).
        values: (layers, slots, Hkv, D / WIDTH, rows, WIDTH).
        new: (N, 2) token and position of each new token; those of a sequence follow each other.
        spans: (sequences, 4) slot, first and end index in ``new``, and the position in row 0 of its keys.
        wanted: (M,) indices of the new tokens whose logits are computed.
        heads: number H of query heads.
        hidden_width: width of the feed-forward layer.
        vocabulary: number V of token ids.
        back: how many keys a query sees.
        eps: (3,) of the blocks' norms, of those of queries and keys, and of the final norm.
        rms: whether norms are root-mean-square norms.
        tanh: which GELU, where there is no gate.
        stream: (threads, N, C) working memory, as are the next ones.
        normed: (threads, N, C).
        qkv: (N, (H + 2 Hkv) D).
        attended: (N, H D).
        branch: (N, C); this and the next ones are rounded up to WIDTH.
        before: (N, hidden) before the activation.
        hidden: (N, hidden).
        logits: (M, V), the result.
        threads: number of parts.
    """
    N, C = stream.shape[1], stream.shape[2]
    layers, G, D = keys.shape[0], keys.shape[2], keys.shape[4]
    group, packed_width = heads // G, (heads + 2 * G) * D
    scale = f4(1 / np.sqrt(np.float64(D)))
    for layer in range(layers):
        entry = table[layer]
        for t in prange(threads):
            wide_vectors()
            if layer == 0:
                for i in range(N):
                    row, source = stream[t, i], embedding[new[i, 0]]
                    for c in range(C):
                        row[c] = source[c]
                    if places.size:
                        place = places[new[i, 1]]
                        for c in range(C):
                            row[c] += place[c]
            weight, bias = _vector(vectors, entry[NORM1], C), _vector(vectors, entry[NORM1_BIAS], C)
            _add_and_normalize(stream[t], branch, layer > 0, normed[t], weight, bias, eps[BLOCK_EPS], rms)
            lo, hi = _columns(packed_width, t, threads)
            weight_scale, bias = _scale_and_bias(vectors, entry, QKV_SCALE, QKV_BIAS, qkv.shape[1])
            multiply(normed[t], N, C, panels[entry[QKV] :], lo, hi, weight_scale, bias, qkv)
        for t in prange(threads):
            wide_vectors()
            scores, tops, totals = np.empty((group, KEYS), f4), np.empty(group, np.int32), np.empty(group, f4)
            sums = np.empty((group, values.shape[3] * WIDTH), f4)
            q_norm, k_norm = _vector(vectors, entry[Q_NORM], D), _vector(vectors, entry[K_NORM], D)
            lo, hi = chunk(len(spans) * G, t, threads)
            for task in range(lo, hi):
                slot, begin, end, first = spans[task // G]
                g = task % G
                its_slopes = slopes[g * group : (g + 1) * group] if slopes.size else slopes
                for i in range(begin, end):
                    position = new[i, 1]
                    k = qkv[i, (heads + g) * D : (heads + g + 1) * D]
                    v = qkv[i, (heads + G + g) * D : (heads + G + g + 1) * D]
                    if k_norm.size:
                        normalize(k, k_norm, vectors[:0], eps[HEADS_EPS], True)
                    if cos.size:
                        rotate(k, cos[position], sin[position])
                    append(k, v, position - first, keys[layer, slot, g], values[layer, slot, g])
                for i in range(begin, end):
                    position = new[i, 1]
                    q = qkv[i, g * group * D : (g + 1) * group * D]
                    for h in range(group):
                        query = q[h * D : (h + 1) * D]
                        if q_norm.size:
                            normalize(query, q_norm, vectors[:0], eps[HEADS_EPS], True)
                        if cos.size:
                            rotate(query, cos[position], sin[position])
                    attend(
                        q, group, position, first, back, scale, its_slopes, keys[layer, slot, g],
                        values[layer, slot, g], scores, tops, totals, sums,
                    )  # fmt: skip
                    for h in range(group):
                        target, source = attended[i, (g * group + h) * D : (g * group + h + 1) * D], sums[h]
                        for d in range(target.size):
                            target[d] = source[d]
        for t in prange(threads):
            wide_vectors()
            lo, hi = _columns(C, t, threads)
            weight_scale, bias = _scale_and_bias(vectors, entry, OUT_SCALE, OUT_BIAS, branch.shape[1])
            multiply(attended, N, heads * D, panels[entry[OUT] :], lo, hi, weight_scale, bias, branch)
        for t in prange(threads):
            wide_vectors()
            weight, bias = _vector(vectors, entry[NORM2], C), _vector(vectors, entry[NORM2_BIAS], C)
            _add_and_normalize(stream[t], branch, True, normed[t], weight, bias, eps[BLOCK_EPS], rms)
            lo, hi = _columns(hidden_width, t, threads)
            weight_scale, bias = _scale_and_bias(vectors, entry, ACTIVATED_SCALE, ACTIVATED_BIAS, before.shape[1])
            multiply(normed[t], N, C, panels[entry[ACTIVATED] :], lo, hi, weight_scale, bias, before)
            if entry[UP] != ABSENT:
                weight_scale, bias = _scale_and_bias(vectors, entry, UP_SCALE, UP_BIAS, hidden.shape[1])
                multiply(normed[t], N, C, panels[entry[UP] :], lo, hi, weight_scale, bias, hidden)
            for i in range(N):
                gates, row = before[i, lo:hi], hidden[i, lo:hi]
                if entry[UP] != ABSENT:
                    for c in range(row.size):
                        activated, _ = silu(gates[c])
                        row[c] = activated * row[c]
                else:
                    gelu(gates, row, tanh)
        for t in prange(threads):
            wide_vectors()
            lo, hi = _columns(C, t, threads)
            weight_scale, bias = _scale_and_bias(vectors, entry, DOWN_SCALE, DOWN_BIAS, branch.shape[1])
            multiply(hidden, N, hidden_width, panels[entry[DOWN] :], lo, hi, weight_scale, bias, branch)
    entry = table[layers]
    for t in prange(threads):
        wide_vectors()
        weight, bias = _vector(vectors, entry[NORM1], C), _vector(vectors, entry[NORM1_BIAS], C)
        _add_and_normalize(stream[t], branch, True, normed[t], weight, bias, eps[FINAL_EPS], rms)
        for m in range(len(wanted)):
            row, source = normed[t, m], normed[t, wanted[m]]  # m is at most wanted[m]: no row is lost
            for c in range(C):
                row[c] = source[c]
        lo, hi = _columns(vocabulary, t, threads)
        weight_scale, bias = _scale_and_bias(vectors, entry, QKV_SCALE, QKV_BIAS, logits.shape[1])
        multiply(normed[t], len(wanted), C, panels[entry[QKV] :], lo, hi, weight_scale, bias, logits)
