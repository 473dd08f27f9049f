"""CUDA twins of ``ops.classification.cross_entropy``. The gradient may overwrite the logits.

Nothing here waits for the device. So the error for a target that is neither a class nor ignored comes with the next
transfer; until then it makes the loss NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend.arrays import Array, array_module, is_array
from ....backend.cuda.launch import Source
from ....backend.targets import Target
from ..common.ids import watch_ids
from ..common.sizes import threads_of_row
from ..common.targets import contiguous, optional, slot

_SOURCE = Source("classification/cross_entropy.cu")
_FORWARD = _SOURCE.kernel(
    "cross_entropy_forward",
    "f4* logits, i8* targets, f4* class_weight?, f4* highest, f4* total, f4* losses, f4* counts, i4 V, f4 smoothing, "
    "i8 ignore, f4 z_loss",
)
_BACKWARD = _SOURCE.kernel(
    "cross_entropy_backward",
    "f4* dtotal?, f4 dtotal_value, i4 each, f4* logits, f4* highest, f4* total, i8* targets, f4* class_weight?, "
    "f4* weight_sum?, f4* dlogits, i4 V, f4 smoothing, i8 ignore, f4 z_loss, i4 accumulate",
)
_TOTAL = _SOURCE.kernel("cross_entropy_total", "f4* losses, f4* counts, f4* total, f8* count, i4 rows")


def cross_entropy_forward(
    logits: Array,
    targets: Array,
    class_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    others_only: bool = False,
    each: bool = False,
) -> Any:
    """See ``ops.classification.cross_entropy.cross_entropy_forward``."""
    others_only = others_only and label_smoothing > 0
    V = logits.shape[-1]
    if others_only or logits.size == 0:
        return NotImplemented
    xp, kind = array_module(logits), logits.dtype
    indices = _indices(targets)
    watch_ids("cross_entropy_forward", "targets", indices, V, ignored=ignore_index)
    highest, total = xp.empty(targets.shape, kind), xp.empty(targets.shape, kind)
    losses, counts = xp.empty(targets.shape, kind), xp.empty(targets.shape, kind)
    _FORWARD(
        targets.size, threads_of_row(V), contiguous(logits), indices, optional(class_weight), highest, total,
        losses, counts, V, label_smoothing, ignore_index, z_loss,
    )  # fmt: skip
    loss, count = xp.empty((), kind), xp.empty((), np.float64)
    _TOTAL(1, 512, losses, counts, loss, count, targets.size)
    cache = (logits, highest, total, targets, class_weight, label_smoothing, ignore_index, z_loss, others_only)
    return (losses if each else loss, count), cache


def cross_entropy_backward(dtotal: Any, cache: Any, *, into: tuple[Target, None, None]) -> Any:
    """See ``ops.classification.cross_entropy.cross_entropy_backward``."""
    logits, highest, total, targets, class_weight, smoothing, ignore, z_loss, others_only = cache
    if others_only or logits.size == 0:
        return NotImplemented
    xp, V = array_module(logits), logits.shape[-1]
    on_device = is_array(dtotal) and array_module(dtotal) is xp
    each = on_device and dtotal.ndim > 0
    if each and dtotal.shape != targets.shape:
        return NotImplemented  # the reference says what is wrong
    dlogits = slot(into[0], logits.shape, logits)
    if dlogits.array is not None:
        upstream = contiguous(dtotal.astype(logits.dtype)) if on_device else None
        weights = None if class_weight is None else class_weight.sum(dtype=logits.dtype)
        _BACKWARD(
            targets.size, threads_of_row(V), upstream, 0.0 if on_device else float(dtotal), int(each),
            contiguous(logits), contiguous(highest), contiguous(total), _indices(targets), optional(class_weight),
            None if weights is None else xp.asarray(weights), dlogits.array, V, smoothing, ignore, z_loss,
            dlogits.accumulate,
        )  # fmt: skip
    return dlogits.result(), None, None


def _indices(targets: Array) -> Array:
    return contiguous(targets.astype(np.int64, copy=False))
