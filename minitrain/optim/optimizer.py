"""What all optimizers share: the weights they update, the rate, and a state that is kept by parameter name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from ..backend.arrays import Array, array_module
from ..errors import CheckpointError
from ..nn.module import Module
from .checks import check_not_negative
from .groups import trainable_spans
from .state import load_arrays


class Optimizer(ABC):
    """An optimizer for all trainable parameters of a model.

    A subclass names its moments, the arrays it keeps beside each weight, and says in ``update`` how one stretch of
    weights changes. Weight decay reaches matrices and tables, not biases and norms.

    Args:
        model: the model; call ``pack(model)`` before for one update over flat memory instead of one per parameter.
        moments: names of the moments, which start at zero.
        lr: learning rate, until ``set_lr``.
        weight_decay: strength of the decay.

    Attributes:
        steps: number of updates so far; during an update, its number counted from 1.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(self, model: Module, moments: Iterable[str], *, lr: float, weight_decay: float) -> None:
        check_not_negative(type(self).__name__, lr=lr, weight_decay=weight_decay)
        self.model, self.lr, self.weight_decay = model, lr, weight_decay
        self.steps = 0
        names = tuple(moments)
        self._spans = trainable_spans(model)
        self._moments: list[dict[str, Array]] = [
            {name: array_module(span.data).zeros_like(span.data) for name in names} for span in self._spans
        ]

    @abstractmethod
    def update(
        self, weight: Array, grad: Array, moments: Mapping[str, Array], *, weight_decay: float, grad_scale: float
    ) -> None:
        """Update one stretch of weights and its moments in place.

        Args:
            weight: the weights.
            grad: their gradients, of the same shape, not to be written to.
            moments: the moments by name, of the same shape.
            weight_decay: 0 where no decay applies.
            grad_scale: factor of the gradients.
        """

    def step(self, grad_scale: float = 1.0) -> None:
        """Update all weights from their gradients times ``grad_scale``."""
        self.steps += 1
        for span, moments in zip(self._spans, self._moments, strict=True):
            weight_decay = self.weight_decay if span.decay else 0.0
            self.update(span.data, span.grad(), moments, weight_decay=weight_decay, grad_scale=float(grad_scale))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for span in self._spans:
            for parameter, _ in span.parts.values():
                parameter.zero_grad()

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next update."""
        self.lr = lr

    def get_lr(self) -> float:
        """The learning rate of the next update."""
        return self.lr

    def state_dict(self) -> dict[str, Any]:
        """The state: ``step``, ``lr`` and ``moments``, arrays by ``<moment>.<path of the parameter>``."""
        return {"step": self.steps, "lr": self.lr, "moments": self._moments_by_path()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave, also one of an unpacked model for a packed one.

        Raises:
            CheckpointError: if it belongs to other parameters or to another optimizer. Nothing is loaded then.
        """
        for name in sorted(self.state_dict().keys() ^ state.keys()):
            raise CheckpointError(f"the optimizer state is of another optimizer: only one of the two has {name}")
        steps, lr = int(state["step"]), float(state["lr"])
        load_arrays(self._moments_by_path(), state["moments"], "the optimizer state is of another model or optimizer")
        self.steps, self.lr = steps, lr

    def _moments_by_path(self) -> dict[str, Array]:
        return {
            f"{name}.{path}": span.part(array, path)
            for span, moments in zip(self._spans, self._moments, strict=True)
            for path in span.parts
            for name, array in moments.items()
        }


def coupled_gradient(weight: Array, grad: Array, *, weight_decay: float, grad_scale: float) -> Array:
    """The gradient with weight decay as an L2 penalty in it, ``grad_scale * grad + weight_decay * weight``.

    The penalty does not take part in clipping: ``grad_scale`` is not applied to it. The result is a fresh array.
    """
    g: Array = grad * weight.dtype.type(grad_scale)
    if weight_decay:
        g += weight_decay * weight
    return g
