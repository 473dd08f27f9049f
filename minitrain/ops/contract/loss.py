"""Shared parts of loss operations: a loss is a total and a count.

The mean is their quotient. Totals of micro-batches add up to the total of the batch, however it is split; means do not.
With the option ``each`` the total is not summed: it has one loss for each element or row, in the shape that the
operation documents. The cotangent ``dtotal`` may then have that shape too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module, to_number
from ...errors import ShapeError


class Loss(NamedTuple):
    """A loss as a sum over its elements, and how many there are (weighted)."""

    total: Any  # () summed loss, in nats if it is a likelihood; one for each element with ``each``
    count: Any  # () number of targets that count

    @property
    def mean(self) -> float:
        """``total / count`` as a Python float; NaN if nothing counted."""
        count = to_number(self.count)
        return to_number(self.total) / count if count else float("nan")


def summed(losses: Array, each: bool) -> Any:
    """The total of a loss: the sum, formed in float64, or the losses themselves with ``each``."""
    return losses if each else losses.sum(dtype=array_module(losses).float64).astype(losses.dtype)


def weight_sum(losses: Array, weight: Array | None) -> Any:
    """The count of a loss: the sum of the weights, which are 1 by default."""
    return float(losses.size) if weight is None else weight.sum(dtype=array_module(weight).float64)


def is_per_loss(function: str, dtotal: Any, losses: tuple[int, ...]) -> bool:
    """Whether ``dtotal`` has one entry for each loss, in the shape ``losses``, instead of one for the total.

    Raises:
        ShapeError: if it is of another shape.
    """
    given: tuple[int, ...] = getattr(dtotal, "shape", ())
    if given not in ((), losses):
        raise ShapeError(f"{function}: dtotal has shape {given}, expected () or {losses}, as there are losses")
    return given != ()


def chain(function: str, dtotal: Any, slope: Array, rows: bool = False) -> Array:
    """The chain rule: ``dtotal * slope``, in the dtype of ``slope``.

    Args:
        function: the calling function, for the error.
        dtotal: () gradient of the total, or one for each loss.
        slope: derivative of each loss, in the shape of the losses, or (..., C) if there is one loss per row.
        rows: whether there is one loss per row.
    """
    if is_per_loss(function, dtotal, slope.shape[:-1] if rows else slope.shape) and rows:
        dtotal = array_module(slope).expand_dims(dtotal, -1)  # (...,) -> (..., 1)
    return (slope * dtotal).astype(slope.dtype)  # type: ignore[no-any-return]
