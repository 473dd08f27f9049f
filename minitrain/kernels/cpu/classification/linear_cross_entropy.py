"""Twin of ``ops.linear_cross_entropy``'s backward: it scales the forward's gradients by ``dtotal`` into their buffers.

The gradient of the head's weight is as large as the embedding table. Without the twin, it would be written to fresh
memory first and then added to the parameter's gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import aligned_chunk
from ..common.targets import flat, slot


def linear_cross_entropy_backward(dtotal: Any, cache: Any, *, into: tuple[Target, Target, None, Target, None]) -> Any:
    """See ``ops.linear_cross_entropy.linear_cross_entropy_backward``."""
    if cache.gradients is None or np.ndim(dtotal):
        return NotImplemented
    dhidden, dweight, dbias = cache.gradients
    return (
        _times(dtotal, dhidden, into[0]),
        _times(dtotal, dweight, into[1]),
        None,
        None if dbias is None else _times(dtotal, dbias, into[3]),
        None,
    )


def _times(dtotal: Any, gradient: Array, target: Target) -> Array | None:
    result = slot(target, gradient.shape)
    if result.array.size:
        _scale(flat(gradient), float(dtotal), flat(result.array), result.beta, threads_for(gradient.size))
    return result.result()


@kernel("void(f4[::1], f4, f4[::1], f4, i8)")
def _scale(gradient, factor, out, beta, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(gradient.size, t, threads)
        g, d = gradient[lo:hi], out[lo:hi]
        for i in range(g.size):
            d[i] = factor * g[i] + d[i] if beta != 0 else factor * g[i]
