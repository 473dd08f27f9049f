"""What all optimizers share: the weights they update, their settings, and a state that is kept by parameter name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..backend.arrays import Array, array_module
from ..errors import ConfigError
from ..nn.core.module import Module
from ..states import Arrays, Kind, Number, Whole, checked
from .checks import NOT_NEGATIVE, NOT_POSITIVE, POSITIVE, RATE, SHARE, Range
from .groups import Span, check_in_use, flat_groups, trainable_spans
from .state import load_arrays


class Optimizer(ABC):
    """An optimizer for all trainable parameters of a model.

    A subclass names its moments, the arrays it keeps beside each weight, and says in ``update`` how one stretch of
    weights changes. Weight decay reaches matrices and tables, not biases and norms; groups of parameters may have a
    decay and a rate of their own (``minitrain.nn.assign_groups``).

    Args:
        model: the model; call ``pack(model)`` before for one update over flat memory instead of one per parameter.
        moments: names of the moments, which start at zero.
        lr: learning rate, until ``set_lr``.
        weight_decay: strength of the decay.

    Attributes:
        steps: number of updates so far; during an update, its number counted from 1.
        ranges: what settings may be, by name. A subclass sets its own settings as attributes, then calls this
            constructor, which checks them.

    Raises:
        ConfigError: if a setting is out of range, or there is nothing to train.
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "adamw_betas": RATE,
        "adamw_eps": NOT_NEGATIVE,
        "adamw_lr_scale": NOT_NEGATIVE,
        "alpha": RATE,
        "beta2_decay": NOT_POSITIVE,
        "betas": RATE,
        "d": POSITIVE,
        "dampening": SHARE,
        "eps": NOT_NEGATIVE,
        "initial_accumulator_value": NOT_NEGATIVE,
        "lr": NOT_NEGATIVE,
        "lr_decay": NOT_NEGATIVE,
        "momentum": RATE,
        "momentum_decay": NOT_NEGATIVE,
        "ns_steps": POSITIVE,
        "weight_decay": NOT_NEGATIVE,
    }

    def __init__(self, model: Module, moments: Iterable[str], *, lr: float, weight_decay: float) -> None:
        if not isinstance(model, Module):
            raise ConfigError(
                f"{type(self).__name__}: model must be a Module, got {type(model).__name__}; pass the model itself, "
                "not its parameters"
            )
        self.model, self.lr, self.weight_decay = model, lr, weight_decay
        for name, value in vars(self).items():
            if name.endswith("betas") and not (isinstance(value, tuple | list) and len(value) == 2):
                raise ConfigError(
                    f"{type(self).__name__}: {name} = {value!r} must be two numbers, such as (0.9, 0.999)"
                )
            if name in self.ranges:
                self.ranges[name].check(type(self).__name__, **{name: value})
        self.steps = 0
        names = tuple(moments)
        self._flat = flat_groups(model)
        self._spans = self.stretches(trainable_spans(model))
        if not self._spans:
            raise ConfigError(f"{type(self).__name__}: the model has no trainable parameter; is all of it frozen?")
        parameters = [parameter for span in self._spans for parameter, _ in span.parts.values()]
        self._bounded = [(p, p.upper) for p in parameters if p.upper is not None]
        self._moments = [self.new_moments(span, names) for span in self._spans]

    @abstractmethod
    def update(
        self,
        weight: Array,
        grad: Array,
        moments: Mapping[str, Array],
        *,
        lr: float,
        weight_decay: float,
        grad_scale: float,
    ) -> None:
        """Update one stretch of weights and its moments in place.

        Args:
            weight: the weights.
            grad: their gradients, of the same shape, not to be written to.
            moments: the moments by name, of the same shape unless ``new_moments`` says otherwise.
            lr: the learning rate of these weights.
            weight_decay: their decay, 0 for none.
            grad_scale: factor of the gradients.
        """

    def stretches(self, spans: list[Span]) -> list[Span]:
        """What ``update`` is called with: as few stretches as possible, or, for a method of matrices, split ones."""
        return spans

    def new_moments(self, span: Span, names: tuple[str, ...]) -> dict[str, Array]:
        """The moments of a stretch before the first update, by name."""
        return {name: array_module(span.data).zeros_like(span.data) for name in names}

    def step(self, grad_scale: float = 1.0) -> None:
        """Update all weights from their gradients times ``grad_scale``, and keep them to their upper limits.

        Raises:
            MinitrainError: if the weights were packed or moved after the optimizer was made.
        """
        check_in_use(type(self).__name__, self.model, self._spans, self._flat)
        self.steps += 1
        for span, moments in zip(self._spans, self._moments, strict=True):
            self.update(
                span.data,
                span.grad(),
                moments,
                lr=self.lr * span.group.lr_scale,
                weight_decay=span.weight_decay(self.weight_decay),
                grad_scale=float(grad_scale),
            )
        for parameter, upper in self._bounded:
            parameter.data[...] = parameter.data.clip(None, upper)

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
        state = checked("optimizer", state, self.declared_state())
        load_arrays(self._moments_by_path(), state["moments"], "the optimizer state is of another model or optimizer")
        self.steps, self.lr = state["step"], float(state["lr"])

    def declared_state(self) -> dict[str, Kind]:
        """What a state may hold; see `minitrain.states`."""
        return {"step": Whole(), "lr": Number(low=0), "moments": Arrays(self._moments_by_path())}

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
