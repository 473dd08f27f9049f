"""Twins of ``ops.conv2d`` without groups, in float32: products of the weights with the columns of ``_columns``.

The output of an image is ``weight @ columns``, (O, K) @ (K, N), with K = C kh kw elements of a window and N = Ho Wo
windows. Some images and some rows of windows are multiplied at a time, so their columns stay in the core's cache.

Weight gradients are summed over parts of the batch, and then over the parts in order. So they do not depend on the
number of threads. How many images are together changes no bit of the output either: an element of a product is one
sum over K, wherever its column lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.precision import HALF, operand_precision
from ....backend.targets import SKIP, Target
from ....backend.threads import threads_for
from ....backend.windows import make_windows
from ..common.gemm import available, gemm_nn, gemm_nt, gemm_tn
from ..common.math import chunk
from ..common.targets import NONE, Slot, slot
from ._columns import Plan, fill, fold, interleave, interleave_rows, separate

IMAGES_PER_SUM = 16
"""Images whose weight gradients one sum takes, at least."""
LARGEST_SUMS = 1 << 22
"""Numbers in the sums of all parts, at most; a part has more images rather than that."""


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """See ``ops.conv2d.conv2d_forward``."""
    if operand_precision() in HALF or not _covered(x, weight, groups):
        return NotImplemented
    windows = make_windows("conv2d_forward", x, weight.shape[2:], stride, padding, dilation)
    shape = (len(x), len(weight), *windows.counts(x.shape))
    out = empty(shape)
    kernels = np.ascontiguousarray(weight).reshape(len(weight), -1)  # (O, C, kh, kw) -> (O, K)
    threads = _threads(kernels.size, out)
    plan = Plan.of(x, windows, shape, most=-(-len(x) // threads))
    _forward(
        np.ascontiguousarray(x),
        kernels,
        NONE if bias is None else np.ascontiguousarray(bias),
        out.reshape(len(x), len(weight), -1),  # (B, O, Ho, Wo) -> (B, O, N)
        *plan.room(threads, kernels),
        plan.geometry,
        plan.together,
        plan.tile,
        threads,
    )
    return out, (x, weight, bias, shape, windows, groups)


@kernel(
    "void(f4[:, :, :, ::1], f4[:, ::1], f4[::1], f4[:, :, ::1], f4[:, ::1], f4[:, :, ::1], f4[:, :, ::1], i8[::1], "
    "i8, i8, i8)"
)
def _forward(x, weight, bias, out, block_room, column_room, row_room, geometry, together, tile, threads):
    B, O, N = out.shape
    K, width = column_room.shape[1:]
    for t in prange(threads):
        block, columns, rows = block_room[t], column_room[t], row_room[t]  # (C Hp Wp G,), (K, tile G), (O, tile G)
        first, end = chunk(B, t, threads)
        for start in range(first, end, together):
            G = min(together, end - start)
            interleave(x[start : start + G], block, geometry)
            for n in range(0, N, tile):
                count = min(tile, N - n)
                fill(block, columns, n, count, G, geometry)
                gemm_nn(O, count * G, K, 1.0, weight, K, columns, width, 0.0, rows, width)
                for o in range(O):
                    shift = np.float32(0)
                    if bias.size:
                        shift = bias[o]
                    found = rows[o]
                    for g in range(G):
                        row = out[start + g, o, n : n + count]
                        for i in range(count):
                            row[i] = found[i * G + g] + shift


def conv2d_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.conv2d.conv2d_backward``."""
    x, weight, bias, shape, windows, groups = cache
    if not _covered(x, weight, groups) or dout.shape != shape:
        return NotImplemented
    B, (O, *_) = len(x), weight.shape
    dx, dweight = slot(into[0], x.shape), slot(into[1], weight.shape)
    dbias = slot(SKIP, (0,)) if bias is None else slot(into[2], bias.shape)
    kernels = np.ascontiguousarray(weight).reshape(O, -1)  # (O, C, kh, kw) -> (O, K)
    rows = np.ascontiguousarray(dout).reshape(B, O, -1)  # (B, O, Ho, Wo) -> (B, O, N)
    plan = Plan.of(x, windows, shape, most=B)
    part = max(IMAGES_PER_SUM, -(-B * kernels.size // LARGEST_SUMS))
    part = -(-part // plan.together) * plan.together  # images that lie side by side are in one sum
    parts = -(-B // part)
    threads = min(parts, _threads(kernels.size, dout))
    weight_sums = empty((parts if dweight.array.size else 0, *kernels.shape))
    _backward(
        np.ascontiguousarray(x),
        kernels,
        rows,
        dx.array,
        dx.beta,
        weight_sums,
        *plan.room(threads, kernels),
        part,
        plan.geometry,
        plan.together,
        plan.tile,
        threads,
    )
    if dweight.array.size:
        _store(weight_sums.sum(axis=0), dweight)
    if dbias.array.size:
        _store(rows.sum(axis=2).sum(axis=0, dtype=np.float64), dbias)
    return dx.result(), dweight.result(), dbias.result()


def _store(total: Array, gradient: Slot) -> None:
    """Write a sum, or add it to what is there."""
    total = total.reshape(gradient.array.shape)
    gradient.array[...] = gradient.array + total if gradient.beta else total


@kernel(
    "void(f4[:, :, :, ::1], f4[:, ::1], f4[:, :, ::1], f4[:, :, :, ::1], f4, f4[:, :, ::1], f4[:, ::1], "
    "f4[:, :, ::1], f4[:, :, ::1], i8, i8[::1], i8, i8, i8)"
)
def _backward(
    x, weight, dout, dx, beta, weight_sums, block_room, column_room, row_room, part, geometry, together, tile, threads
):
    B, O, N = dout.shape
    K, width = column_room.shape[1:]
    for t in prange(threads):
        block, columns, rows = block_room[t], column_room[t], row_room[t]  # (C Hp Wp G,), (K, tile G), (O, tile G)
        first, end = chunk((B + part - 1) // part, t, threads)
        for start in range(first * part, min(B, end * part), together):
            G = min(together, B - start)
            if weight_sums.size:
                interleave(x[start : start + G], block, geometry)
                for n in range(0, N, tile):
                    count = min(tile, N - n)
                    interleave_rows(dout[start : start + G], rows, n, count)
                    fill(block, columns, n, count, G, geometry)
                    kept = 0.0 if start % part == 0 and n == 0 else 1.0
                    gemm_nt(O, K, count * G, 1.0, rows, width, columns, width, kept, weight_sums[start // part], K)
            if dx.size:
                block[:] = np.float32(0)
                for n in range(0, N, tile):
                    count = min(tile, N - n)
                    interleave_rows(dout[start : start + G], rows, n, count)
                    gemm_tn(K, count * G, O, 1.0, weight, K, rows, width, 0.0, columns, width)
                    fold(block, columns, n, count, G, geometry)
                separate(block, dx[start : start + G], beta, geometry)


def _covered(x: Array, weight: Array, groups: int) -> bool:
    """Whether the kernels take these: products of half precision and of groups are left to the reference."""
    return available and groups == 1 and x.dtype == weight.dtype == np.float32 and min(x.size, weight.size) > 0


def _threads(weights: int, out: Array) -> int:
    """For products of a weight matrix with every window of every image of ``out`` (B, O, Ho, Wo)."""
    return min(len(out), threads_for(weights * out[0, 0].size * len(out) / 32))
