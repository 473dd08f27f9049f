"""The objective of a training: a model with a loss of its own, or a model and a loss function.

One rule holds for all objectives. **A key means training, no key means evaluation.** An evaluation drops nothing and
measures the plain loss, without label smoothing and other parts that belong to training. So the exponential of an
evaluated cross-entropy is the perplexity.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..backend.arrays import array_module, is_cupy
from ..backend.deferred import watch
from ..data.loading.batches import IGNORED
from ..errors import ConfigError, DataError
from ..losses.base import Reduced
from ..measures.base import Measures
from ..measures.fields import inputs_and_targets, lengths_of
from ..measures.top_k import Accuracy
from ..ops.contract.loss import Loss
from ..random import Key


class Objective(Protocol):
    """The interface that the training loop calls. GPT and the other models are objectives by themselves.

    An objective may also have these attributes; each defaults to ``False``:

    - ``classifies``: a sample has one class, and the outputs are scores (..., V). An evaluation then measures accuracy,
      for which it calls ``loss_and_outputs(batch)``.
    - ``losses(batch, outputs=False)``: the plain loss of each target, see `CrossEntropyModel.losses`. Their sum has the
      digits of float64, whatever the batches, and an evaluation knows the loss of each sample.
    - ``is_likelihood``: an evaluation measures a negative log-likelihood in nats, whose exponential is a perplexity.
    - ``smooths``: the loss of training has parts that an evaluation leaves out.
    - ``inputs_and_groups(batch)`` with ``contrast``: the loss compares the samples of a batch, see
      `minitrain.training.steps.whole_batch`.
    """

    def loss(self, batch: Any, *, key: Key | None = None) -> tuple[Loss, Any]:
        """The summed loss of a batch with its count, and the cache; ``key=None`` means evaluation."""

    def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
        """Add the gradient of ``dtotal`` times the summed loss to the parameters; only float16 needs another than 1."""


def counted_by(model: Any) -> str:
    """The unit that the losses of ``model`` count, in a word: tokens for a language model, else targets.

    A model of your own may have an attribute ``counts``, such as ``"images"``.
    """
    return getattr(model, "counts", "targets")


class ModelLossCache(NamedTuple):
    """Saved for the backward."""

    model: Any
    loss: Any
    scale: float  # what makes a sum of the loss: 1, or the number of samples for a mean
    backward: Callable[..., Any]  # of the loss


class ModelWithLoss:
    """A model and a loss function as one objective.

    A loss of `minitrain.losses` gives its total and its count, also with ``reduction="mean"``. So any split of a batch
    into micro-batches has the gradient of the whole batch. An evaluation measures the loss's ``plain()``.

    Args:
        model: ``forward(inputs) -> (outputs, cache)`` and ``backward(doutputs, cache)``; a forward with a ``key``
            argument gets the key of the dropout masks, one with a ``lengths`` argument those of a padded batch.
        loss_fn: ``forward(outputs, targets)`` and ``backward(dloss, cache)``, or a pair of such functions. The loss
            is ``Loss(total, count)``, or a number: the mean over the samples of the batch. A mean over anything else,
            such as over the targets that are not padding, cannot be split: return ``Loss(total, count)``. If there is a
            ``plain()``, an evaluation uses the loss that it returns. One that compares the samples of a batch has
            ``compares_samples = True``, and returns ``Loss(total, count)``: see `ModelWithComparedLoss`.

    Attributes:
        model: the model.
        loss_fn: the loss, as it was given.
        classifies: whether the outputs are scores of classes, as the loss says.
        is_likelihood: whether an evaluation measures a negative log-likelihood in nats, as the loss says.
        smooths: whether the loss has parts that an evaluation leaves out.
        ignore_index: the target that does not count.

    Raises:
        ConfigError: if ``loss_fn`` is not a loss, or keeps a sum or all losses apart.
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
        self.model, self.loss_fn = model, loss_fn
        plain = loss_fn.plain() if hasattr(loss_fn, "plain") else loss_fn
        self._training, self._evaluation = _functions(loss_fn), _functions(plain)
        self._takes_key = _takes_key(model.forward)
        self._takes_lengths = "lengths" in inspect.signature(model.forward).parameters
        self.classifies: bool = getattr(loss_fn, "classifies", False)
        self.is_likelihood: bool = getattr(loss_fn, "is_likelihood", False)
        self.smooths = plain is not loss_fn
        self.ignore_index: int = getattr(loss_fn, "ignore_index", IGNORED)

    def loss(self, batch: Any, *, key: Key | None = None) -> tuple[Loss, ModelLossCache]:
        """The summed loss of a batch, and the cache; ``key=None`` means evaluation."""
        loss, cache, _ = self._run(batch, key)
        return loss, cache

    def loss_and_outputs(self, batch: Any) -> tuple[Loss, Any]:
        """The summed loss of a batch and the model's outputs, in evaluation."""
        loss, _, outputs = self._run(batch, None)
        return loss, outputs

    def _run(self, batch: Any, key: Key | None) -> tuple[Loss, ModelLossCache, Any]:
        inputs, targets = inputs_and_targets(batch)
        forward, backward = self._evaluation if key is None else self._training
        settings = {"key": key} if self._takes_key else {}
        if self._takes_lengths:
            settings["lengths"] = lengths_of(batch)
        outputs, cache = self.model.forward(inputs, **settings)
        loss, loss_cache = forward(outputs, targets)
        value = loss.total if isinstance(loss, Loss) else loss
        if getattr(value, "shape", ()) != ():
            raise ConfigError(
                f"loss_fn returned losses of shape {value.shape}, one for each target: return their sum and their "
                "number, Loss(total, count), or their mean over the samples"
            )
        if isinstance(loss, Loss):
            return loss, ModelLossCache(cache, loss_cache, 1.0, backward), outputs
        if getattr(targets, "dtype", None) is not None and targets.dtype.kind == "i":
            error = DataError(
                f"loss_fn returned a number, the mean over all samples to a trainer, but targets of {IGNORED} do not "
                "count: return their sum and their number, Loss(total, count)"
            )
            ignored = (targets == IGNORED).any()
            if is_cupy(targets):
                watch(array_module(targets), "loss_fn's mean", ignored.astype("int64"), 0, lambda _: error)
            elif ignored:
                raise error
        samples = float(len(inputs))  # a mean: its sum over the samples adds up over micro-batches
        return Loss(loss * samples, samples), ModelLossCache(cache, loss_cache, samples, backward), outputs

    def loss_backward(self, cache: ModelLossCache, dtotal: float = 1.0) -> None:
        """Add the gradients of ``dtotal`` times the summed loss to the model's parameters."""
        doutputs = cache.backward(dtotal * cache.scale, cache.loss)
        self.model.backward(doutputs[0] if isinstance(doutputs, tuple) else doutputs, cache.model)


class ModelWithComparedLoss(ModelWithLoss):
    """A model and a loss that compares the samples of a batch, such as `SupervisedContrastiveLoss`.

    In training, the loss sees the outputs of all micro-batches together, see `minitrain.training.steps.whole_batch`.

    Args:
        model: see `ModelWithLoss`; its outputs are one array (B, ...).
        loss_fn: see `ModelWithLoss`; it has ``compares_samples = True``.

    Attributes:
        contrast: the loss of the outputs and targets of a whole batch.
    """

    def __init__(self, model: Any, loss_fn: Any) -> None:
        super().__init__(model, loss_fn)
        self.contrast = _OfWholeBatch(*self._training)

    def inputs_and_groups(self, batch: Any) -> tuple[tuple[Any, ...], Any]:
        """The arguments of ``forward`` from a batch, and the targets, which the loss takes besides the outputs."""
        inputs, targets = inputs_and_targets(batch)
        return (inputs, lengths_of(batch) if self._takes_lengths else None), targets

    def forward(self, inputs: Any, lengths: Any = None, *, key: Key | None = None) -> tuple[Any, Any]:
        """The model's outputs (B, ...) and the cache."""
        settings = {"key": key} if self._takes_key else {}
        if self._takes_lengths:
            settings["lengths"] = lengths
        outputs, cache = self.model.forward(inputs, **settings)
        return outputs, cache

    def backward(self, doutputs: Any, cache: Any) -> None:
        """Add the gradients of the model's parameters, from that of its outputs."""
        self.model.backward(doutputs, cache)


class _OfWholeBatch(NamedTuple):
    """A loss as `ModelWithComparedLoss` needs it: gradients of the outputs alone, in a tuple."""

    forward: Callable[..., Any]
    of_outputs: Callable[..., Any]

    def backward(self, dtotal: Any, cache: Any) -> tuple[Any]:
        found = self.of_outputs(dtotal, cache)
        return (found[0] if isinstance(found, tuple) else found,)


def _functions(loss_fn: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and backward of a loss, whose losses are summed.

    Raises:
        ConfigError: if its reduction keeps the losses apart, or is a sum: the trainer divides by the count.
    """
    if isinstance(loss_fn, tuple):
        return loss_fn
    reduction = getattr(loss_fn, "reduction", None)
    if reduction in ("none", "sum"):
        raise ConfigError(
            f"loss_fn is {type(loss_fn).__name__}(reduction={reduction!r}): the gradient of a step is that of the mean "
            "over its targets, so leave reduction out, or use 'mean', which is the same to a trainer"
        )
    if isinstance(loss_fn, Reduced):
        loss_fn = loss_fn.summed()
    return loss_fn.forward, loss_fn.backward


def _takes_key(method: Callable[..., Any]) -> bool:
    """Whether a method of a model takes the random key.

    Raises:
        ConfigError: if it takes the key as ``rng``, its name in 0.1. The model would train without dropout.
    """
    names = inspect.signature(method).parameters
    if "rng" in names and "key" not in names:
        raise ConfigError(f"{method.__qualname__} takes rng; the random key is called key since 0.2: rename it")
    return "key" in names


def objective_of(model: Any, loss_fn: Any = None) -> Any:
    """The objective of a model: its own loss, or ``loss_fn`` of its outputs.

    Raises:
        ConfigError: if there is neither, or if it takes the random key as ``rng``.
    """
    if loss_fn is not None:
        return (ModelWithComparedLoss if getattr(loss_fn, "compares_samples", False) else ModelWithLoss)(model, loss_fn)
    if not (hasattr(model, "loss") and hasattr(model, "loss_backward")):
        raise ConfigError(
            f"{type(model).__name__} has no loss(batch) and loss_backward(cache) of its own: "
            "give the trainer a loss_fn, such as CrossEntropyLoss()"
        )
    _takes_key(model.loss)
    return model


def default_metrics(objective: Any) -> dict[str, Measures]:
    """The default measure of an evaluation besides the loss: the accuracy of a classifier."""
    if not getattr(objective, "classifies", False):
        return {}
    return {"accuracy": Accuracy(ignore_index=getattr(objective, "ignore_index", IGNORED))}
