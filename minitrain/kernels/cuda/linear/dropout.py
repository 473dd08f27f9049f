"""CUDA twins of ``ops.linear.dropout``: the random words are computed where they are used, and no mask is stored."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.targets import Target
from ..common.keys import key_arguments
from ..common.sizes import MOST_BLOCKS, THREADS, ceil_div, vector_width
from ..common.targets import contiguous, slot

_SOURCE = Source("linear/dropout.cu")
_DROPOUT = {
    V: _SOURCE.kernel(
        f"dropout<{V}>",
        "f4* x, f4* out, i8 n, i8 samples, i8 first_sample, u4 k0, u4 k1, u4 threshold, f4 scale, i4 accumulate, "
        "u4* key?",
    )
    for V in (1, 4)
}


def dropout_forward(x: Array, *, p: float, key: Any) -> Any:
    """See ``ops.linear.dropout.dropout_forward``."""
    if key is None or p == 0 or x.size == 0:
        return NotImplemented
    out = array_module(x).empty(x.shape, x.dtype)
    _apply(contiguous(x), out, 0, p, key)
    return out, (p, key)


def dropout_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.linear.dropout.dropout_backward``."""
    if cache.key is None or cache.p == 0 or dout.size == 0:
        return NotImplemented
    dx = slot(into[0], dout.shape, dout)
    if dx.array is not None:
        _apply(contiguous(dout), dx.array, dx.accumulate, cache.p, cache.key)
    return dx.result()


def _apply(x: Array, out: Array, accumulate: int, p: float, key: Any) -> None:
    samples = x.shape[0]
    n = x.size // samples
    k0, k1, words = key_arguments(key, x)
    across = min(ceil_div(ceil_div(n, 4), THREADS), MOST_BLOCKS)
    _DROPOUT[vector_width(n, x, out)](
        (across, min(samples, MOST_BLOCKS)), THREADS, x, out, n, samples, key.sample, k0, k1, round(p * 2**32),
        1 / (1 - p), accumulate, words,
    )  # fmt: skip
