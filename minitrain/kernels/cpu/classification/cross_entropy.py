"""Twins of ``ops.cross_entropy``: each row is finished while it is in cache. The gradient may overwrite the logits.

The compiler may reorder additions: ``(z - highest) - log(total)`` could become ``z - (highest + log(total))``, which
loses the digits that subtracting ``highest`` first keeps. So the loops subtract ``highest`` and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import arithmetic_fence, chunk, exp_nonpositive, maximum, wide_vectors
from ..common.targets import NO_ROWS, NONE, flat, rows, slot

f4 = np.float32


def cross_entropy_forward(
    logits: Array,
    targets: Array,
    class_weight: Array | None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    others_only: bool = False,
    each: bool = False,
) -> Any:
    """See ``ops.cross_entropy.cross_entropy_forward``."""
    others_only = others_only and label_smoothing > 0
    if each or others_only or logits.shape[-1] == 0:
        return NotImplemented
    highest, total = empty(targets.shape), empty(targets.shape)
    losses, counts = np.empty(targets.size), np.empty(targets.size)  # float64
    bad = _forward(
        rows(logits), _flat(targets), NONE if class_weight is None else np.ascontiguousarray(class_weight),
        label_smoothing, ignore_index, z_loss, highest.reshape(-1), total.reshape(-1), losses, counts,
        threads_for(4 * logits.size),
    )  # fmt: skip
    if bad:
        return NotImplemented  # a target is out of range: the reference says which
    cache = (logits, highest, total, targets, class_weight, label_smoothing, ignore_index, z_loss, others_only)
    return (np.float32(losses.sum()), counts.sum()), cache


@kernel("b1(f4[:, ::1], i8[::1], f4[::1], f4, i8, f4, f4[::1], f4[::1], f8[::1], f8[::1], i8)")
def _forward(logits, targets, class_weight, smoothing, ignore, z_loss, highest, total, losses, counts, threads):
    R, V = logits.shape
    bad = np.zeros(threads, np.bool_)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        for r in range(lo, hi):
            z = logits[r]
            top, s = maximum(z), f4(0)
            for c in range(V):
                s += exp_nonpositive(z[c] - top)
            highest[r], total[r] = top, s
            losses[r] = counts[r] = 0
            y = targets[r]
            if y == ignore:
                continue
            if y < 0 or y >= V:
                bad[t] = True
                continue
            w = class_weight[y] if class_weight.size else f4(1)
            log_total = np.log(s)
            loss = w * (f4(1) - smoothing) * (log_total + arithmetic_fence(top - z[y]))
            if z_loss > 0:
                loss += w * z_loss * (log_total + top) * (log_total + top)
            if smoothing > 0:
                gap, weights = f4(0), f4(V)  # distances of the logits from the highest, and the class weights, summed
                if class_weight.size:
                    weights = f4(0)
                    for c in range(V):
                        gap += class_weight[c] * (top - z[c]) if class_weight[c] != 0 else f4(0)
                        weights += class_weight[c]
                else:
                    for c in range(V):
                        gap += top - z[c]
                loss += smoothing * (weights * log_total + gap) / f4(V)
            losses[r], counts[r] = loss, w
    return bad.any()


def cross_entropy_backward(dtotal: Any, cache: Any, *, into: tuple[Target, None, None]) -> Any:
    """See ``ops.cross_entropy.cross_entropy_backward``."""
    logits, highest, total, targets, class_weight, smoothing, ignore, z_loss, others_only = cache
    if logits.size == 0 or others_only or np.ndim(dtotal):
        return NotImplemented
    dlogits = slot(into[0], logits.shape)
    if dlogits.array.size:
        weights = NONE if class_weight is None else np.ascontiguousarray(class_weight)
        in_place = _is_same_array(dlogits.array, logits)
        if in_place and (dlogits.beta or weights.size):
            logits, in_place = logits.copy(), False
        _backward(
            float(dtotal), NO_ROWS if in_place else rows(logits), flat(highest), flat(total), _flat(targets),
            weights, float(weights.sum()), smoothing, ignore, z_loss,
            rows(dlogits.array), dlogits.beta, threads_for(4 * cache.logits.size),
        )  # fmt: skip
    return dlogits.result(), None, None


@kernel("void(f4, f4[:, ::1], f4[::1], f4[::1], i8[::1], f4[::1], f4, f4, i8, f4, f4[:, ::1], f4, i8)")
def _backward(
    dtotal, logits, highest, total, targets, class_weight, weight_sum, smoothing, ignore, z_loss, dlogits, beta, threads
):  # fmt: skip
    """If ``logits`` is empty, ``dlogits`` holds them and is overwritten; ``beta`` is then 0, without class weights."""
    R, V = dlogits.shape
    even = smoothing / f4(V)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        for r in range(lo, hi):
            y = targets[r]
            d = dlogits[r]
            if y == ignore:
                if beta == 0:
                    for c in range(V):
                        d[c] = 0
                continue
            w = class_weight[y] if class_weight.size else f4(1)
            top = highest[r]
            p_factor = (f4(1) - smoothing) * w + even * (weight_sum if class_weight.size else f4(V))
            if z_loss > 0:
                p_factor += f4(2) * z_loss * w * (np.log(total[r]) + top)
            p_factor /= total[r]
            if not logits.size:
                for c in range(V):
                    d[c] = dtotal * (p_factor * exp_nonpositive(d[c] - top) - even)
            elif beta == 0 and not class_weight.size:
                z = logits[r]
                for c in range(V):
                    d[c] = dtotal * (p_factor * exp_nonpositive(z[c] - top) - even)
            else:
                z = logits[r]
                for c in range(V):
                    share = even * class_weight[c] if class_weight.size else even
                    g = dtotal * (p_factor * exp_nonpositive(z[c] - top) - share)
                    d[c] = d[c] + g if beta != 0 else g
            d[y] -= dtotal * (f4(1) - smoothing) * w


def _is_same_array(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape, ``a`` contiguous, are the same memory."""
    return b.flags.c_contiguous and bool(a.ctypes.data == b.ctypes.data)


def _flat(targets: Array) -> Array:
    return np.ascontiguousarray(targets, np.int64).reshape(-1)
