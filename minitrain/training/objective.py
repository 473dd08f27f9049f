"""What is minimised: a model that owns its loss, or a model and a loss function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from ..errors import ConfigError, DataError
from ..ops.contract.loss import Loss
from ..random import Key


class Objective(Protocol):
    """What the training loop calls. GPT and the other models are objectives by themselves."""

    def loss(self, batch: Any, *, rng: Key | None = None) -> tuple[Loss, Any]:
        """The summed loss of a batch with its count, and the cache; ``rng=None`` means evaluation."""

    def loss_backward(self, cache: Any) -> None:
        """Add the gradient of the summed loss to the parameters."""


class ModelLossCache(NamedTuple):
    """What the backward needs."""

    model: Any
    loss: Any
    scale: float  # what makes a sum of the loss: 1, or the number of samples for a mean


class ModelWithLoss:
    """A model and a loss function as one objective.

    Args:
        model: ``forward(inputs) -> (outputs, cache)`` and ``backward(doutputs, cache)``; a forward with an ``rng``
            argument gets the key of the dropout masks.
        loss_fn: ``forward(outputs, targets)`` and ``backward(dloss, cache)``, or a pair of such functions. The loss
            is ``Loss(total, count)``, or a number: the mean over the samples of the batch.
    """

    def __init__(self, model: Any, loss_fn: Any) -> None:
        if isinstance(loss_fn, type):
            raise ConfigError(f"loss_fn is the class {loss_fn.__name__}: give an object of it, {loss_fn.__name__}()")
        pair = isinstance(loss_fn, tuple) and len(loss_fn) == 2
        if not pair and not (hasattr(loss_fn, "forward") and hasattr(loss_fn, "backward")):
            raise ConfigError(
                f"loss_fn is a {type(loss_fn).__name__}: give an object with forward(outputs, targets) and "
                "backward(dloss, cache), or a pair of two such functions"
            )
        self.model = model
        self._forward, self._backward = loss_fn if pair else (loss_fn.forward, loss_fn.backward)
        self._takes_rng = "rng" in inspect.signature(model.forward).parameters

    def loss(self, batch: Any, *, rng: Key | None = None) -> tuple[Loss, ModelLossCache]:
        """The summed loss of a batch, and the cache."""
        loss, cache, _ = self._run(batch, rng)
        return loss, cache

    def loss_and_outputs(self, batch: Any) -> tuple[Loss, Any]:
        """The summed loss of a batch and the model's outputs, in evaluation."""
        loss, _, outputs = self._run(batch, None)
        return loss, outputs

    def _run(self, batch: Any, rng: Key | None) -> tuple[Loss, ModelLossCache, Any]:
        inputs, targets = inputs_and_targets(batch)
        outputs, cache = self.model.forward(inputs, **({"rng": rng} if self._takes_rng else {}))
        loss, loss_cache = self._forward(outputs, targets)
        if isinstance(loss, Loss):
            return loss, ModelLossCache(cache, loss_cache, 1.0), outputs
        samples = float(len(inputs))  # a mean: its sum over the samples adds up over micro-batches
        return Loss(loss * samples, samples), ModelLossCache(cache, loss_cache, samples), outputs

    def loss_backward(self, cache: ModelLossCache) -> None:
        """Add the gradients of the summed loss to the model's parameters."""
        doutputs = self._backward(cache.scale, cache.loss)
        self.model.backward(doutputs[0] if isinstance(doutputs, tuple) else doutputs, cache.model)


def objective_of(model: Any, loss_fn: Any = None) -> Any:
    """The objective of a model: its own loss, or ``loss_fn`` of its outputs.

    Raises:
        ConfigError: if there is neither.
    """
    if loss_fn is not None:
        return ModelWithLoss(model, loss_fn)
    if not (hasattr(model, "loss") and hasattr(model, "loss_backward")):
        raise ConfigError(
            f"{type(model).__name__} has no loss(batch) and loss_backward(cache) of its own: "
            "give the trainer a loss_fn, such as CrossEntropyLoss()"
        )
    return model


def inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch: attributes or keys of these names, or the two elements of a pair.

    Raises:
        DataError: if it is none of these.
    """
    if isinstance(batch, Mapping) and {"inputs", "targets"} <= batch.keys():
        return batch["inputs"], batch["targets"]
    if hasattr(batch, "inputs") and hasattr(batch, "targets"):
        return batch.inputs, batch.targets
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise DataError(
        f"a batch is a {type(batch).__name__}: give pairs (inputs, targets), objects or dictionaries with these two "
        "names, or a model with a loss(batch) of its own that knows the format"
    )


Metric = Callable[[Any, Any], tuple[float, float]]
"""``metric(outputs, batch) -> (total, count)``; the value over a data set is the sum of totals over that of counts."""


def accuracy(outputs: Any, batch: Any, ignore_index: int = -100) -> tuple[float, float]:
    """How many targets (...,) the highest of the outputs (..., V) names, and how many targets count."""
    _, targets = inputs_and_targets(batch)
    counts = targets != ignore_index
    right = (outputs.argmax(axis=-1) == targets) & counts
    return float(right.sum()), float(counts.sum())
