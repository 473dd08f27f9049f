"""Twins of ``ops.conv2d`` without groups, in float32: each thread works on whole images.

The *columns* of an image are a matrix with a row for each element of a window, (K, N), with K = C kh kw elements and
N = Ho Wo windows. The output of an image is ``weight @ columns``, (O, K) @ (K, N), which is how it lies in memory. The
columns of one small image stay in the core's cache: they are filled, multiplied, and filled again for the next one.

Weight gradients are summed over blocks of images, and then over the blocks in order. So they do not depend on the
number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import device, kernel
from ....backend.pool import empty
from ....backend.precision import HALF, operand_precision
from ....backend.targets import SKIP, Target
from ....backend.threads import threads_for
from ....backend.windows import Windows, make_windows
from ..common.gemm import available, gemm_nn, gemm_nt, gemm_tn
from ..common.math import chunk
from ..common.targets import NONE, Slot, slot

IMAGES_PER_SUM = 8
"""Images whose weight gradients one sum takes, at least."""
LARGEST_SUMS = 1 << 22
"""Numbers in the sums of all blocks, at most; a block has more images rather than that."""


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
    _forward(
        np.ascontiguousarray(x),
        kernels,
        NONE if bias is None else np.ascontiguousarray(bias),
        out.reshape(len(x), len(weight), -1),  # (B, O, N)
        empty((threads, kernels.shape[1], shape[2] * shape[3])),
        _geometry(windows, shape),
        threads,
    )
    return out, (x, weight, bias, shape, windows, groups)


@kernel("void(f4[:, :, :, ::1], f4[:, ::1], f4[::1], f4[:, :, ::1], f4[:, :, ::1], i8[::1], i8)")
def _forward(x, weight, bias, out, room, geometry, threads):
    B, O, N = out.shape
    K = weight.shape[1]
    for t in prange(threads):
        columns = room[t]  # (K, N)
        first, end = chunk(B, t, threads)
        for b in range(first, end):
            _fill(x[b], columns, geometry)
            gemm_nn(O, N, K, 1.0, weight, K, columns, N, 0.0, out[b], N)
            if bias.size:
                for o in range(O):
                    row, shift = out[b, o], bias[o]
                    for n in range(row.size):
                        row[n] += shift


def conv2d_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.conv2d.conv2d_backward``."""
    x, weight, bias, shape, windows, groups = cache
    if not _covered(x, weight, groups) or dout.shape != shape:
        return NotImplemented
    B, (O, *_) = len(x), weight.shape
    dx, dweight = slot(into[0], x.shape), slot(into[1], weight.shape)
    dbias = slot(SKIP, (0,)) if bias is None else slot(into[2], bias.shape)
    K = weight[0].size
    block = max(IMAGES_PER_SUM, -(-B * O * K // LARGEST_SUMS))
    blocks = -(-B // block)
    threads = min(blocks, _threads(O * K, dout))
    weight_sums = empty((blocks if dweight.array.size else 0, O, K))
    rows = np.ascontiguousarray(dout).reshape(B, O, -1)  # (B, O, Ho, Wo) -> (B, O, N)
    _backward(
        np.ascontiguousarray(x),
        np.ascontiguousarray(weight).reshape(O, K),
        rows,
        dx.array,
        dx.beta,
        weight_sums,
        empty((threads, K, rows.shape[2])),
        block,
        _geometry(windows, shape),
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
    "void(f4[:, :, :, ::1], f4[:, ::1], f4[:, :, ::1], f4[:, :, :, ::1], f4, f4[:, :, ::1], f4[:, :, ::1], i8, "
    "i8[::1], i8)"
)
def _backward(x, weight, dout, dx, beta, weight_sums, room, block, geometry, threads):
    B, O, N = dout.shape
    K = weight.shape[1]
    for t in prange(threads):
        columns = room[t]
        first, end = chunk((B + block - 1) // block, t, threads)
        for s in range(first, end):
            for b in range(s * block, min(B, (s + 1) * block)):
                if weight_sums.size:
                    _fill(x[b], columns, geometry)
                    kept = 0.0 if b == s * block else 1.0
                    gemm_nt(O, K, N, 1.0, dout[b], N, columns, N, kept, weight_sums[s], K)
                if dx.size:
                    gemm_tn(K, N, O, 1.0, weight, K, dout[b], N, 0.0, columns, N)
                    if beta == 0:
                        dx[b] = np.float32(0)
                    _fold(columns, dx[b], geometry)


@device
def _fill(image, columns, geometry):
    """Columns (K, N) = the elements of all windows of an image (C, H, W); padding is 0."""
    kh, kw, sh, sw, ph, pw, dh, dw, Ho, Wo = geometry
    C, H, W = image.shape
    for k in range(C * kh * kw):
        c, i, j = k // (kh * kw), k // kw % kh, k % kw
        row, top, left = columns[k], i * dh - ph, j * dw - pw
        lo, hi = _inside(left, sw, W, Wo)
        for h in range(Ho):
            out, y = row[h * Wo : (h + 1) * Wo], top + h * sh
            if y < 0 or y >= H or hi <= lo:
                out[:] = np.float32(0)
                continue
            out[:lo] = np.float32(0)
            out[hi:] = np.float32(0)
            part, pixels = out[lo:hi], image[c, y, left + lo * sw :]
            if sw == 1:  # a loop of its own, which LLVM turns into a copy
                for n in range(part.size):
                    part[n] = pixels[n]
            else:
                for n in range(part.size):
                    part[n] = pixels[n * sw]


@device
def _fold(columns, image, geometry):
    """Add the elements (K, N) of all windows to the image (C, H, W) that they come from."""
    kh, kw, sh, sw, ph, pw, dh, dw, Ho, Wo = geometry
    C, H, W = image.shape
    for k in range(C * kh * kw):
        c, i, j = k // (kh * kw), k // kw % kh, k % kw
        row, top, left = columns[k], i * dh - ph, j * dw - pw
        lo, hi = _inside(left, sw, W, Wo)
        for h in range(Ho):
            y = top + h * sh
            if y < 0 or y >= H or hi <= lo:
                continue
            part, pixels = row[h * Wo + lo : h * Wo + hi], image[c, y, left + lo * sw :]
            if sw == 1:
                for n in range(part.size):
                    pixels[n] += part[n]
            else:
                for n in range(part.size):
                    pixels[n * sw] += part[n]


@device
def _inside(left, step, width, count):
    """The windows, of ``count`` that begin ``step`` apart from ``left`` on, whose first element is in a row."""
    lo = (-left + step - 1) // step if left < 0 else 0
    hi = (width - left + step - 1) // step if left < width else 0
    return lo, min(count, hi)


def _covered(x: Array, weight: Array, groups: int) -> bool:
    """Whether the kernels take these: products of half precision and of groups are left to the reference."""
    return available and groups == 1 and x.dtype == weight.dtype == np.float32 and min(x.size, weight.size) > 0


def _geometry(windows: Windows, shape: tuple[int, ...]) -> Array:
    """Kernel, stride, padding, dilation and the number of windows, each vertical and horizontal: (10,)."""
    return np.array([n for pair in (*windows, shape[2:]) for n in pair], np.int64)


def _threads(weights: int, out: Array) -> int:
    """For products of a weight matrix with every window of every image of ``out`` (B, O, Ho, Wo)."""
    return min(len(out), threads_for(weights * out[0, 0].size * len(out) / 32))
