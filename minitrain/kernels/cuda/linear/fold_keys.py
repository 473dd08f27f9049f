"""CUDA twin of ``ops.linear.fold_keys``: a thread follows one path."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ..common.sizes import ceil_div

_SOURCE = Source("linear/fold_keys.cu")
_FOLD = _SOURCE.kernel("fold_keys", "u4* root, u4* paths, u4* keys, i4 count, i4 depth")
THREADS = 32  # of a block: there are few keys, and each is a long chain


def fold_keys(root: Array, paths: Array) -> Any:
    """See ``ops.linear.fold_keys.fold_keys``."""
    count, depth, _ = paths.shape
    keys = array_module(root).empty((count, 2), "uint32")
    _FOLD(ceil_div(count, THREADS), THREADS, root, paths, keys, count, depth)
    return keys
