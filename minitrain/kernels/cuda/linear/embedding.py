"""CUDA twins of ``ops.linear.embedding``.

Nothing here waits for the device. So the error for a token outside the table comes with the next transfer; until then
its row is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.targets import Target
from ..common.ids import watch_ids
from ..common.sizes import THREADS, ceil_div, vector_width
from ..common.targets import contiguous, slot

LINES = 8  # as in embedding.cu
_SOURCE = Source("linear/embedding.cu")
_FORWARD = {
    V: _SOURCE.kernel(f"embedding_forward<{V}>", "i8* tokens, f4* weight, f4* out, i4 rows, i4 columns") for V in (1, 4)
}
_BACKWARD = {
    V: _SOURCE.kernel(
        f"embedding_backward<{V}>",
        "i8* sorted, i8* order, f4* dout, f4* dweight, i4 n, i4 rows, i4 columns, i4 padding",
    )
    for V in (1, 4)
}


def embedding_forward(tokens: Array, weight: Array, *, padding_idx: int | None = None) -> Any:
    """See ``ops.linear.embedding.embedding_forward``."""
    R, C = weight.shape
    if tokens.size == 0 or weight.size == 0:
        return NotImplemented
    out = array_module(weight).empty((*tokens.shape, C), weight.dtype)
    table, ids = contiguous(weight), contiguous(tokens.astype(np.int64, copy=False))
    watch_ids("embedding_forward", "tokens", ids, R)
    V = vector_width(C, table, out)
    _FORWARD[V](tokens.size, min(THREADS, 32 * ceil_div(C, 32 * V)), ids, table, out, R, C)
    return out, (tokens, weight, padding_idx)


def embedding_backward(dout: Array, cache: Any, *, into: tuple[None, Target]) -> Any:
    """See ``ops.linear.embedding.embedding_backward``."""
    tokens, weight, padding_idx = cache
    R, C = weight.shape
    n = tokens.size
    if n == 0 or weight.size == 0:
        return NotImplemented
    dweight = slot(into[1], weight.shape, weight)
    if dweight.array is not None:
        xp = array_module(dout)
        flat = tokens.reshape(-1).astype(np.int64, copy=False)
        order = xp.argsort(flat, kind="stable").astype(np.int64, copy=False)
        if not dweight.accumulate:
            dweight.array.fill(0)
        given = contiguous(dout)
        V = vector_width(C, given, dweight.array)
        _BACKWARD[V](
            (n, ceil_div(C, 32 * V)), (32, LINES), contiguous(flat[order]), order, given, dweight.array, n, R, C,
            -1 if padding_idx is None else padding_idx,
        )  # fmt: skip
    return None, dweight.result()
