"""Split of an array in two along an axis. Backward: the gradients of the parts are joined, as by ``concat``.

A classifier that reads the first token of a sequence splits at 1 and ignores the second part, whose cotangent is then
``None``. To get more parts, split again.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.op import op


class SplitCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # the input
    at: int
    axis: int


def _check_place(x: Array, *, at: int, axis: int) -> None:
    size = x.shape[in_range("split_forward", x, axis)]
    if not 0 <= at <= size:
        raise ShapeError(f"split_forward: at = {at} is outside of axis {axis} of x {x.shape}; use 0 to {size}")


@op("x: *N", check=_check_place)
def split_forward(x: Array, *, at: int, axis: int) -> tuple[Array, Array, SplitCache]:
    """Split ``x`` in two.

    Args:
        x: (..., n, ...) array.
        at: length of the first part, from 0 to n.
        axis: axis to split along; negative axes count from the end.

    Returns:
        first (..., at, ...) and second (..., n - at, ...), views of ``x``, and the cache.
    """
    return *cut(x, at, axis), SplitCache(x, at, axis)


@op("cache.x: *N; dfirst: *F; dsecond: *S")
def split_backward(dfirst: Array | None, dsecond: Array | None, cache: SplitCache) -> Array:
    """Gradient of the split. A cotangent that is ``None`` counts as zero.

    Args:
        dfirst: (..., at, ...) gradient of the first part.
        dsecond: (..., n - at, ...) gradient of the second part.
        cache: from the forward.

    Returns:
        dx (..., n, ...).
    """
    x, at, axis = cache
    dx: Array = array_module(x).zeros(x.shape, x.dtype)
    for name, part, given in zip(("dfirst", "dsecond"), cut(dx, at, axis), (dfirst, dsecond), strict=True):
        if given is not None:
            if given.shape != part.shape:
                raise ShapeError(f"split_backward: {name} has shape {given.shape}, expected {part.shape} as the part")
            part[...] = given
    return dx


def cut(x: Array, at: int, axis: int) -> tuple[Array, Array]:
    """Views of the parts before ``at`` and from ``at`` on, along an axis."""
    before = (slice(None),) * (axis % x.ndim)
    return x[(*before, slice(at))], x[(*before, slice(at, None))]


def in_range(function: str, x: Array, axis: int) -> int:
    """``axis`` counted from the front. It is an error if ``x`` has no such axis."""
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"{function}: axis = {axis} does not exist in x of shape {x.shape}")
    return axis % x.ndim
