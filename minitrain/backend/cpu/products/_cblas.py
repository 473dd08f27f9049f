"""Common parts of our own products: the signature of CBLAS's ``sgemm``, and the product of nothing."""

from __future__ import annotations

import numpy as np
from numba import types

from .._simd import get, put
from ..compiler import device

TRANSPOSED = 112  # CBLAS's constant
f4 = np.float32
SIZE = 4  # bytes of a float32

_form, _index, _number = types.int32, types.int64, types.float32
SIGNATURE = types.void(
    _form, _form, _form, _index, _index, _index,
    _number, _index, _index, _index, _index, _number, _index, _index,
)  # fmt: skip


@device
def only_scale(c, m, n, ldc, beta):
    """C (m, n) = beta C: the product if there is nothing to sum over."""
    for i in range(m):
        for j in range(n):
            place = c + SIZE * (i * ldc + j)
            put(beta * get(place) if beta != 0 else f4(0), place)
