"""Twins of ``ops.attention`` on the GPU: tiles of 64 queries and 64 keys on tensor cores.

The kernels are in ``attention_forward.cu``, ``attention_backward.cu`` and ``attention_decode.cu``, and explained there.
This file chooses among them, and lays out what they read. 16-bit operands go to the tensor cores, and so do float32
operands where the policy is ``tf32``. Otherwise these are multiplied without tensor cores, with all their digits.

A block of threads copies 16 bytes at a time, so the rows of a head must begin at multiples of 16 bytes. Queries, keys
and values may be views of one packed array. What lies otherwise, or has a width that is no multiple of 16 bytes, is
copied into rows that are padded with zeros.
"""

from __future__ import annotations

import math
from typing import Any

from ....backend.arrays import Array, array_module, is_cupy
from ....backend.cuda.launch import Kernel
from ....backend.precision import current_precision, is_half, operand
from ....backend.targets import Skip, Target, deliver
from ..common.keys import key_arguments
from ..common.targets import Slot
from ..linear.operands import operand_like
from . import cudnn_graphs
from .declared import QUERIES, ROWS, SPAN, WIDTHS, backward_kernels, decode_kernels, forward_kernel, tiles, width_of
from .engine import attention_library
from .heads import aligned, heads_slot, strided

MOST_BLOCKS = 65535
"""The second and third side of a grid: heads and samples."""


def attention_forward(
    q: Array, k: Array, v: Array, bias: Array | None, *, causal: bool = False, key_lengths: Array | None = None,
    mask: Array | None = None, window: int | None = None, alibi_slopes: Array | None = None,
    softcap: float | None = None, scale: float | None = None, dropout: float = 0.0, key: Any = None,
) -> Any:  # fmt: skip
    """See ``ops.attention.attention_forward``."""
    if not _covered(q, k, v, scale, dropout, bias, mask, alibi_slopes, softcap):
        return NotImplemented
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    q, k, v = operand(q), operand(k), operand(v)
    if not q.dtype == k.dtype == v.dtype:
        return NotImplemented
    cached = (key_lengths, None, alibi_slopes, causal, window, None, scale, dropout, key)
    library = _library(q, k, causal, window, key_lengths, _drops(dropout, key))
    if library is not None and (found := cudnn_graphs.forward(library, q, k, v, causal=causal, scale=scale)):
        return found[0].astype("f4"), (q, k, v, None, *found, *cached)
    (B, T, H, d), (S, G), xp = q.shape, k.shape[1:3], array_module(q)
    q_rows, k_rows, v_rows = aligned(q), aligned(k), aligned(v)
    out, lse = xp.empty(q.shape, "f4"), xp.empty((B, H, T), "f4")
    kept = xp.empty(q.shape, q.dtype) if is_half(q) else None
    options = (*_window_sizes(T, S, causal, window), scale)
    operands = (*strided(q_rows), *strided(k_rows), *strided(v_rows), _lengths(key_lengths))
    if T * (H // G) <= QUERIES and not _drops(dropout, key):
        _run_decode(q, operands, options, out, kept, lse, S, G)
    else:
        tile, drops = tiles(q.dtype.itemsize, width_of(d)), _drops(dropout, key)
        keep = tile.rows * (tile.width + 4) if drops else 0
        forward_kernel(_kind(q), width_of(d), drops)(
            (-(-T // tile.rows), H, B), (tile.threads,), *operands, out, kept, lse, T, S, H // G, d, *options,
            *_dropout(dropout, key, q), shared=tile.shared(1, 2, tile.width, keep),
        )  # fmt: skip
    return out, (q, k, v, None, out if kept is None else kept, lse, *cached)


def attention_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target, None]) -> Any:
    """See ``ops.attention.attention_backward``."""
    q, k, v = cache.q, cache.k, cache.v
    if not _covered(q, k, v, cache.scale, cache.dropout, cache.bias, cache.mask, cache.alibi_slopes, cache.softcap):
        return NotImplemented
    if not q.dtype == k.dtype == v.dtype:
        return NotImplemented
    drops = _drops(cache.dropout, cache.key)
    library = _library(q, k, cache.causal, cache.window, cache.key_lengths, drops)
    if library is not None and (found := cudnn_graphs.backward(library, operand_like(dout, q), cache)):
        wide = (None if isinstance(target, Skip) else x.astype("f4") for target, x in zip(into, found, strict=False))
        return (*(x if x is None else deliver(x, target) for x, target in zip(wide, into, strict=False)), None)
    (B, T, H, d), (S, G) = q.shape, k.shape[1:3]
    tile = tiles(q.dtype.itemsize, width_of(d))
    kernels = backward_kernels(_kind(q), width_of(d), drops)
    rows, g = _rows(dout, cache, q, kernels.rows)
    to_q, to_k, to_v = (heads_slot(target, x) for target, x in zip(into, (q, k, v), strict=False))
    operands = (*(part for x in (q, k, v, g) for part in strided(aligned(x))), _lengths(cache.key_lengths), rows)
    sizes = (T, S, H // G, d, rows.shape[2])
    options = (*_window_sizes(T, S, cache.causal, cache.window), cache.scale, *_dropout(cache.dropout, cache.key, q))
    width = tile.backward_width
    if to_k.array is not None or to_v.array is not None:
        extra = 16 * width + (width * (tile.rows + 4) if drops else 0)
        kernels.keys(
            (-(-S // tile.rows), G, B), (tile.threads,), *operands, *_gradient(to_k), *_gradient(to_v),
            to_k.accumulate, to_v.accumulate, *sizes, *options, shared=tile.shared(2, 2, width, extra),
        )  # fmt: skip
    if to_q.array is not None:
        extra = tile.rows * (width + 4) if drops else 0
        kernels.queries(
            (-(-T // tile.rows), H, B), (tile.threads,), *operands, *_gradient(to_q),
            to_q.accumulate, *sizes, *options, shared=tile.shared(2, 2, width, extra),
        )  # fmt: skip
    return (*(slot.result() for slot in (to_q, to_k, to_v)), None)


def _library(q: Array, k: Array, causal: bool, window: int | None, key_lengths: Array | None, drops: bool) -> Any:
    """The module ``cudnn`` for a call that it is to compute; ``None`` for our own kernels."""
    library = attention_library() if is_cupy(q) else None  # the emulator of kernels has arrays of the host
    wanted = {"causal": causal, "window": window, "key_lengths": key_lengths, "drops": drops}
    return library if library is not None and cudnn_graphs.takes(q, k, **wanted) else None  # type: ignore[arg-type]


def _covered(q: Array, k: Array, v: Array, scale: float | None, dropout: float, *left_to_reference: Any) -> bool:
    """Whether the kernels take the call: no bias, mask, ALiBi or cap, and sizes that fit a launch."""
    if any(option is not None for option in left_to_reference) or q.size == 0 or k.size == 0:
        return False
    (B, T, H, d), S = q.shape, k.shape[1]
    fits = d <= WIDTHS[-1] and max(B, H) <= MOST_BLOCKS
    # The random words of a sample are counted in 32 bits, and their threshold must be one of them.
    draws = dropout == 0 or (H * T * S < 2**34 and round(dropout * 2**32) < 2**32)
    # The kernels look for the largest score before they scale it.
    return fits and draws and (scale is None or scale > 0)


def _kind(q: Array) -> str:
    """The operands of the kernels: numbers of a dtype, or float32 numbers that tensor cores round."""
    return "tf32" if q.dtype == "f4" and current_precision() == "tf32" else q.dtype.name


def _run_decode(
    q: Array, operands: tuple[Any, ...], options: tuple[Any, ...], out: Array, kept: Array | None, lse: Array,
    S: int, G: int,
) -> None:  # fmt: skip
    """The forward of a few queries: parts of the keys in parallel, and then their sum."""
    (B, T, H, d), xp = q.shape, array_module(q)
    n, spans, tile = T * (H // G), -(-S // SPAN), tiles(q.dtype.itemsize, width_of(d))
    parts, part_lse = xp.empty((B, G, spans, n, d), "f4"), xp.empty((B, G, spans, n), "f4")
    shared = (QUERIES + 4 * tile.width) * tile.row_bytes
    kernels = decode_kernels(_kind(q), width_of(d))
    kernels.split((spans, G, B), (32,), *operands, parts, part_lse, T, S, H // G, d, *options, shared=shared)
    kernels.combine((n, G, B), (128,), parts, part_lse, out, kept, lse, spans, T, H // G, d)


def _rows(dout: Array, cache: Any, q: Array, kernel: Kernel) -> tuple[Array, Array]:
    """The numbers that the backward needs of each query, (B, H, T padded to whole tiles, 2), and dout as an operand."""
    (B, T, H, d), xp = q.shape, array_module(q)
    padded = -(-T // ROWS) * ROWS
    rows, g = xp.empty((B, H, padded, 2), "f4"), aligned(dout)
    rounded = xp.empty((B, T, H, -(-d // 8) * 8), q.dtype) if is_half(q) else None
    out = xp.ascontiguousarray(cache.out)
    kernel(
        (-(-B * H * padded // 4),), (128,), *strided(g), out, xp.ascontiguousarray(cache.lse), rows, rounded,
        B, T, H, d, padded, 0 if rounded is None else rounded.shape[-1],
    )  # fmt: skip
    return rows, g if rounded is None else rounded


def _gradient(slot: Slot) -> tuple[Any, ...]:
    return (None, 0, 0, 0) if slot.array is None else strided(slot.array)


def _lengths(key_lengths: Array | None) -> Array | None:
    return None if key_lengths is None else array_module(key_lengths).ascontiguousarray(key_lengths, "i8")


def _drops(dropout: float, key: Any) -> bool:
    return dropout > 0 and key is not None


def _dropout(p: float, key: Any, like: Array) -> tuple[int, float, int, int, int, Array | None]:
    """Threshold (0: no dropout), factor, key, first sample, and where the key is if it is on the device."""
    if not _drops(p, key):
        return 0, 1.0, 0, 0, 0, None
    k0, k1, words = key_arguments(key, like)
    return round(p * 2**32), 1 / (1 - p), k0, k1, key.sample, words


def _window_sizes(T: int, S: int, causal: bool, window: int | None) -> tuple[int, int]:
    """How many keys a query sees up to its own position, and from there on; its own counts in both."""
    back = T + S if window is None else min(int(window), T + S)  # T + S: no limit
    return back, 1 if causal else back
