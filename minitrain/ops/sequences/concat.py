"""Concatenation of two arrays along an axis. Backward: the gradient is cut where they met, as by ``split``.

To join more arrays, join them one after another. Transformers join few and small arrays: a class token and the patches,
cached keys and values and new ones.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.op import op
from .split import cut, in_range


class ConcatCache(NamedTuple):
    """Saved for the backward."""

    shape: tuple[int, ...]  # of the output
    at: int  # where the second array begins
    axis: int


def _check_shapes(x: Array, y: Array, *, axis: int) -> None:
    axis = in_range("concat_forward", x, axis)
    if y.ndim != x.ndim or any(a != b for i, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if i != axis):
        raise ShapeError(
            f"concat_forward: y has shape {y.shape}, expected that of x, {x.shape}, except for the size of axis {axis}"
        )


@op("x: *X; y: *Y", check=_check_shapes)
def concat_forward(x: Array, y: Array, *, axis: int) -> tuple[Array, ConcatCache]:
    """Append ``y`` to ``x``.

    Args:
        x: (..., n, ...) array.
        y: (..., m, ...) array of the same shape except along the axis.
        axis: axis to join along; negative axes count from the end.

    Returns:
        out (..., n + m, ...) and the cache.
    """
    out = array_module(x).concatenate([x, y], axis=axis)
    return out, ConcatCache(out.shape, x.shape[axis], axis)


@op("dout: *N")
def concat_backward(dout: Array, cache: ConcatCache) -> tuple[Array, Array]:
    """Gradients of the concatenation: views of ``dout``.

    Maps dout (..., n + m, ...) to dx (..., n, ...) and dy (..., m, ...). Do not write to what this returns.
    """
    shape, at, axis = cache
    if dout.shape != shape:
        raise ShapeError(f"concat_backward: dout has shape {dout.shape}, expected {shape} as the output")
    return cut(dout, at, axis)
