"""CUDA twins of ``ops.classification.linear_cross_entropy``: the head of a language model, a chunk of rows at a time.

The forward is that of the reference with two changes. The weight is rounded to 16 bits once, not for every chunk. And a
chunk has enough rows to fill a GPU: the chunk of the call is made for the caches of a CPU.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ....backend.arrays import Array, array_module, is_array
from ....backend.cuda.launch import Source
from ....backend.precision import current_precision
from ....backend.targets import Into, Target
from ..common.sizes import blocks_for, vector_width
from ..common.targets import contiguous, row_count, slot
from ..linear.linear import linear_backward, linear_forward
from ..linear.operands import operand
from .cross_entropy import cross_entropy_backward, cross_entropy_forward


class Options(NamedTuple):
    """``ops.classification.linear_cross_entropy.EntropyOptions``: the reference may go on with the cache."""

    label_smoothing: float
    ignore_index: int
    z_loss: float
    others_only: bool


class Gradients(NamedTuple):
    """``ops.classification.linear_cross_entropy.HeadGradients``."""

    dhidden: Array
    dweight: Array
    dbias: Array | None


LOGITS = 256 << 20
"""Bytes of logits in memory at once."""
_SOURCE = Source("classification/linear_cross_entropy.cu")
_SCALE = {
    V: _SOURCE.kernel(f"scale<{V}>", "f4* factor?, f4 value, f4* x, f4* out, i8 n, i4 accumulate") for V in (1, 4)
}


def linear_cross_entropy_forward(
    hidden: Array,
    weight: Array,
    targets: Array,
    bias: Array | None = None,
    class_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    others_only: bool = False,
    chunk: int = 256,
    gradients: bool = True,
    each: bool = False,
) -> Any:
    """See ``ops.classification.linear_cross_entropy.linear_cross_entropy_forward``."""
    precision = current_precision()
    V, R = weight.shape[0], targets.size
    if hidden.size == 0 or (others_only and label_smoothing > 0):
        return NotImplemented
    xp, kept = array_module(hidden), contiguous(hidden)
    chunk = max(chunk, min(LOGITS // (4 * V), R))
    options = Options(label_smoothing, ignore_index, z_loss, others_only)
    wanted = gradients and not each and precision != "float16"  # see the reference
    found = None
    if wanted:
        dbias = None if bias is None else xp.empty(bias.shape, kept.dtype)
        found = Gradients(xp.empty(kept.shape, kept.dtype), xp.empty(weight.shape, kept.dtype), dbias)
    rows, factor = kept.reshape(row_count(kept), -1), operand(weight)  # (..., C) -> (R, C)
    flat = targets.reshape(-1)
    totals, counts = [], []
    for start in range(0, R, chunk):
        part = slice(start, start + chunk)
        logits, head = linear_forward(rows[part], factor, bias)
        (total, count), entropy = cross_entropy_forward(
            logits, flat[part], class_weight, label_smoothing=label_smoothing, ignore_index=ignore_index, z_loss=z_loss,
            each=each,
        )  # fmt: skip
        if found is not None:
            cross_entropy_backward(1.0, entropy, into=(Into(logits), None, None))
            dbias = None if found[2] is None else Into(found[2], start > 0)
            dhidden = found[0].reshape(rows.shape)[part]
            linear_backward(logits, head, into=(Into(dhidden), Into(found[1], start > 0), dbias))
        totals.append(total)
        counts.append(count)
        del logits, head, entropy  # the next chunk takes their memory
    count = xp.stack(counts).sum()
    loss = xp.concatenate(totals).reshape(targets.shape) if each else xp.stack(totals).sum(dtype=np.float64)
    cache = (kept, weight, targets, bias, class_weight, options, chunk, precision, found)
    return (loss if each else loss.astype(hidden.dtype), count), cache


def linear_cross_entropy_backward(dtotal: Any, cache: Any, *, into: tuple[Target, Target, None, Target, None]) -> Any:
    """See ``ops.classification.linear_cross_entropy.linear_cross_entropy_backward``."""
    found = cache.gradients
    if found is None or np.ndim(dtotal):
        return NotImplemented
    dhidden, dweight, dbias = found
    return (
        _times(dtotal, dhidden, into[0]),
        _times(dtotal, dweight, into[1]),
        None,
        None if dbias is None else _times(dtotal, dbias, into[3]),
        None,
    )


def _times(dtotal: Any, gradient: Array, target: Target) -> Array | None:
    result = slot(target, gradient.shape, gradient)
    if result.array is not None and gradient.size:
        on_device = is_array(dtotal) and array_module(dtotal) is array_module(gradient)
        factor = contiguous(dtotal.astype(gradient.dtype)) if on_device else None
        V = vector_width(gradient.size, gradient, result.array)
        _SCALE[V](
            blocks_for(math.ceil(gradient.size / V)), 256, factor, 0.0 if on_device else float(dtotal), gradient,
            result.array, gradient.size, result.accumulate,
        )  # fmt: skip
    return result.result()
