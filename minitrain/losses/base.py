"""The reduction, which all losses of this package share.

By default a loss returns ``Loss(total, count)``, and its gradient is that of the total. Such sums add up over
micro-batches. For your own loop there are PyTorch's three reductions: ``"sum"`` gives the total, ``"mean"`` the total
divided by the count, ``"none"`` one loss per target::

    loss_fn = MeanSquaredError(reduction="mean")
    loss, cache = loss_fn.forward(outputs, targets)
    doutputs = loss_fn.backward(1.0, cache)

The object stores nothing of a call, so a validation pass between forward and backward changes nothing.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from ..backend.arrays import Array, array_module, constant, is_array, is_cupy
from ..errors import ConfigError, ShapeError
from ..ops.contract.loss import Loss

REDUCTIONS = (None, "none", "mean", "sum")


class LossCache(NamedTuple):
    """Saved for the backward."""

    operation: Any  # the cache of the operation
    scale: Any  # the reduction's factor for the gradient of the total: a number, or an array () on a GPU

    def scaled(self, dloss: Any) -> Any:
        """The gradient of the total, from that of the loss."""
        return dloss if not is_cupy(self.scale) and self.scale == 1 else dloss * self.scale


class Reduced:
    """A loss with a reduction.

    Args:
        reduction: ``None`` for ``Loss(total, count)``, or ``"none"``, ``"mean"``, ``"sum"``.
        numbers: settings of a subclass that must be numbers; the operation checks their ranges.

    Raises:
        ConfigError: if ``reduction`` is none of these, or one of the numbers is not a number.

    Attributes:
        classifies: whether outputs are class scores (..., V), and targets class indices (...,).
        is_likelihood: whether ``plain()`` is the negative log-likelihood of the targets in nats. The exponential of its
            mean is then a perplexity.
    """

    classifies: ClassVar[bool] = False
    is_likelihood: bool = False

    def __init__(self, reduction: str | None = None, **numbers: float | None) -> None:
        for name, value in numbers.items():
            if not isinstance(value, Real | None):
                raise ConfigError(f"{type(self).__name__}: {name}={value!r} must be a number")
        if reduction not in REDUCTIONS:
            raise ConfigError(
                f"{type(self).__name__}: reduction={reduction!r}; use 'none', 'mean', 'sum', "
                "or None for Loss(total, count)"
            )
        self.reduction = reduction

    @property
    def each(self) -> bool:
        """Whether there is one loss per target."""
        return self.reduction == "none"

    def plain(self) -> Self:
        """This loss as an evaluation measures it: without parts that only help training, such as label smoothing.

        If a loss of your own has such parts, return a copy without them; the default returns the loss itself.
        """
        return self

    def summed(self) -> Self:
        """This loss without its reduction: its forward returns ``Loss(total, count)``."""
        return self if self.reduction is None else self._changed(reduction=None)

    def _changed(self, **attributes: Any) -> Self:
        """A copy with other attributes."""
        other = copy.copy(self)
        vars(other).update(attributes)
        return other

    def reduce(self, loss: Loss, cache: Any) -> tuple[Any, LossCache]:
        """Apply the reduction to the result of the operation's forward."""
        if self.reduction is None:
            return loss, LossCache(cache, 1.0)
        if self.reduction != "mean":
            return loss.total, LossCache(cache, 1.0)
        if is_cupy(loss.count):  # a look at it would wait for the GPU
            xp = array_module(loss.count)
            share = xp.where(loss.count == 0, 0, 1 / loss.count).astype(loss.total.dtype)
            return (loss.total / loss.count).astype(loss.total.dtype), LossCache(cache, share)
        count = float(loss.count)
        if not count:
            return loss.total * float("nan"), LossCache(cache, 0.0)
        return loss.total / count, LossCache(cache, 1 / count)


class LossFunction(Reduced, ABC):
    """A loss of outputs and targets. A subclass calls its operation.

    Args:
        reduction: see ``Reduced``.
    """

    def forward(self, outputs: Array, targets: Array) -> tuple[Any, LossCache]:
        """Compute the loss.

        Args:
            outputs: the model's outputs, in the shape that the class documents.
            targets: the targets, likewise.

        Returns:
            The loss, reduced, and the cache. The mean of nothing is NaN.
        """
        return self.reduce(*self._forward(outputs, targets, self.each))

    def backward(self, dloss: Any, cache: LossCache) -> Array:
        """Gradient of the outputs; the targets have none.

        Args:
            dloss: gradient of the loss: a number, or one per target if the reduction is ``"none"``. Without a
                reduction, the gradient of the total.
            cache: from the forward.

        Returns:
            doutputs, in the shape of the outputs; zeros for a mean of nothing.
        """
        return self._backward(cache.scaled(dloss), cache.operation)

    @abstractmethod
    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        """Call the forward of the operation."""

    @abstractmethod
    def _backward(self, dtotal: Any, cache: Any) -> Array:
        """Call its backward for the gradient of the outputs."""


def as_weight(weight: Any) -> Array | None:
    """Weights as an array, from an array or a sequence of numbers."""
    return weight if weight is None or is_array(weight) else np.asarray(weight, np.float64)


def fit(owner: Any, weight: Array | None, outputs: Array, shape: tuple[int, ...]) -> Array | None:
    """Weights in the dtype of the outputs and on their device, broadcast to ``shape``.

    Raises:
        ShapeError: if they do not broadcast.
    """
    if weight is None:
        return None
    if is_cupy(outputs) and not is_cupy(weight) and weight.ndim < 2:
        weight = constant(tuple(weight.reshape(-1).tolist()), outputs).reshape(weight.shape)
    try:
        full = array_module(weight).broadcast_to(weight, shape)
    except ValueError:
        raise ShapeError(
            f"{type(owner).__name__}: weight has shape {weight.shape}, which does not broadcast to {shape}"
        ) from None
    return full.astype(outputs.dtype, copy=False)  # type: ignore[no-any-return]
