"""A trainable array and its gradient."""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ...ops.contract.op import SKIP, Into, Target
from .groups import EVERYTHING


class Parameter:
    """A trainable array and its gradient.

    Gradients add up over backward passes until ``zero_grad``. Zeroing only marks the gradient *fresh*: the next
    backward overwrites it instead of adding to zeros, and reading a fresh gradient sees zeros.

    Attributes:
        data: the array. Operations read it; only optimizers write it.
        trainable: ``False`` freezes it: backward passes skip its gradient, optimizers leave it alone.
        group: its own weight decay and learning rate, if any (``minitrain.nn.assign_groups``).
        upper: the largest value of an element, or ``None``. Optimizers clip to it after each update.
        writes: how often somebody has asked where to write the gradient.
    """

    __slots__ = ("_buffer", "_fresh", "data", "group", "trainable", "upper", "writes")

    def __init__(self, data: Array, *, trainable: bool = True, upper: float | None = None) -> None:
        self.data = data
        self.trainable = trainable
        self.upper = upper
        self.group = EVERYTHING
        self._buffer: Array | None = None
        self._fresh = True
        self.writes = 0

    def __repr__(self) -> str:
        return f"Parameter({tuple(self.data.shape)}, {self.data.dtype}{'' if self.trainable else ', frozen'})"

    @property
    def grad(self) -> Array:
        """The gradient, of ``data``'s shape and dtype; zeros if no backward has written it since ``zero_grad``.

        The array may be written to: the next backward adds to it.
        """
        buffer = self.read_grad()
        self._fresh = False
        self.writes += 1
        return buffer

    @grad.setter
    def grad(self, value: object) -> None:
        buffer = self._buffer
        if value is buffer and buffer is not None:  # ``parameter.grad += x`` has written in place
            return
        raise AttributeError("the gradient is added to in place: parameter.grad[...] += ..., so that backwards add up")

    @property
    def fresh(self) -> bool:
        """Whether there is no gradient: neither a backward nor the user has accessed it since ``zero_grad``."""
        return self._fresh

    def read_grad(self) -> Array:
        """The gradient for reading only. Unlike with ``grad``, a fresh one stays fresh."""
        buffer = self.grad_buffer()
        if self._fresh:
            buffer[...] = 0
        return buffer

    def grad_buffer(self) -> Array:
        """The memory of the gradient; its values may be stale."""
        if self._buffer is None:
            self._buffer = array_module(self.data).empty_like(self.data)
        return self._buffer

    def zero_grad(self) -> None:
        """Clear the gradient."""
        self._fresh = True

    def into(self) -> Target:
        """Where a backward writes this gradient: nowhere if frozen, else to its buffer, added unless it is fresh."""
        if not self.trainable:
            return SKIP
        target = Into(self.grad_buffer(), accumulate=not self._fresh)
        self._fresh = False
        self.writes += 1
        return target

    def rebind(self, data: Array, grad: Array | None) -> None:
        """Move the values to memory that something else owns (``minitrain.nn.pack``)."""
        data[...] = self.data
        if grad is not None:
            grad[...] = self.read_grad()
        self.data, self._buffer = data, grad


def into(parameter: Parameter | None) -> Target:
    """``parameter.into()``, and ``SKIP`` for a parameter that a layer does not have."""
    return SKIP if parameter is None else parameter.into()
