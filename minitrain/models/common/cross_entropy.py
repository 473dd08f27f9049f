"""The base of models whose outputs are logits under cross-entropy: reading a batch, the loss, and its backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.classification.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ...ops.contract.loss import Loss
from ...ops.contract.op import Into
from ...random import Key
from ..batches import BatchFields, read_batch
from .config import CheckedConfig


class LossCache(NamedTuple):
    """Saved for ``loss_backward``."""

    model: Any
    loss: Any


class TargetLosses(NamedTuple):
    """The plain losses of a batch, one by one.

    Attributes:
        losses: (B, ...) of each target, 0 where it does not count.
        counts: (B, ...) booleans, whether it counts.
        outputs: the model's outputs; ``None`` if they were not asked for.
    """

    losses: Array
    counts: Array
    outputs: Array | None


class CrossEntropyModel(Module, ABC):
    """A model with a loss of its own: cross-entropy, summed over the targets that count.

    A key means training, and no key means evaluation. In training, targets are smoothed by ``config.label_smoothing``.
    An evaluation measures the plain loss, so its exponential is the perplexity.

    Attributes:
        config_type: the class of its configuration.
        batch_fields: the fields of its batches.
        classifies: whether a sample has one class, so that an evaluation measures accuracy.
        is_likelihood: whether the loss of an evaluation is the negative log-likelihood of the targets, in nats.
        smooths: whether training smooths the labels.
        ignore_index: the target that is ignored.
        counts: what its targets are, for messages such as ``12,000 tokens/s``.
    """

    config: Any
    config_type: ClassVar[type[CheckedConfig]]
    batch_fields: ClassVar[BatchFields] = BatchFields(("inputs", "targets"))
    classifies: bool = False
    is_likelihood: bool = True
    counts: ClassVar[str] = "targets"

    @property
    def smooths(self) -> bool:
        """Whether training smooths the labels; an evaluation never does."""
        return self.config.label_smoothing > 0  # type: ignore[no-any-return]

    @property
    def ignore_index(self) -> int:
        """The target that is ignored."""
        return -100

    @abstractmethod
    def backward(self, dlogits: Array, cache: Any) -> Any:
        """Add the gradients of all parameters."""

    @abstractmethod
    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, Any]:
        """Run the forward.

        Args:
            batch: the arrays of ``batch_fields``.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (..., V), targets (...,) and the forward's cache.
        """

    def loss(self, batch: Any, *, key: Key | None = None) -> tuple[Loss, Any]:
        """Cross-entropy of a batch, summed over the targets that count.

        Args:
            batch: has the model's ``batch_fields`` as attributes, as keys, or in a plain tuple in their order.
            key: random key of the dropout masks. ``None`` means evaluation: nothing is dropped, no label is smoothed.

        Returns:
            Loss(total, count) in nats and the cache for ``loss_backward``.

        Raises:
            DataError: if a field is missing.
        """
        loss, _, cache = self._run(batch, key)
        return loss, cache

    def loss_and_outputs(self, batch: Any) -> tuple[Loss, Array]:
        """The plain loss of a batch and the logits (..., V), in evaluation."""
        loss, logits, _ = self._run(batch, None)
        return loss, logits

    def losses(self, batch: Any, *, outputs: bool = False) -> TargetLosses:
        """The plain loss of each target of a batch, in evaluation. Sums of them do not depend on the batches.

        Args:
            batch: see ``loss``.
            outputs: whether the logits are wanted too.

        Raises:
            DataError: if a field is missing.
        """
        logits, targets, _ = self.logits_and_targets(read_batch(self, batch), key=None)
        losses = self.forward_loss(logits, targets, smoothing=0.0, each=True)[0].total
        counts = targets != self.ignore_index if self.is_likelihood else array_module(losses).ones(losses.shape, bool)
        return TargetLosses(losses, counts, logits if outputs else None)

    def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
        """Gradients of ``dtotal * loss.total`` for all parameters."""
        self.backward(self.backward_loss(dtotal, cache.loss), cache.model)

    def forward_loss(self, logits: Array, targets: Array, *, smoothing: float, each: bool = False) -> tuple[Loss, Any]:
        """The loss of logits (..., V) and targets (...,), summed or of each target, and its cache."""
        return cross_entropy_forward(
            logits, targets, label_smoothing=smoothing, ignore_index=self.ignore_index, each=each
        )

    def backward_loss(self, dtotal: float, cache: Any) -> Array:
        """The gradient of the logits, in the memory of the logits."""
        return cross_entropy_backward(dtotal, cache, into=(Into(cache.logits), None, None))[0]

    def smoothing(self, key: Key | None) -> float:
        """The label smoothing of a call: ``config.label_smoothing`` in training, 0 in an evaluation."""
        return 0.0 if key is None else self.config.label_smoothing

    def _run(self, batch: Any, key: Key | None) -> tuple[Loss, Array, LossCache]:
        logits, targets, cache = self.logits_and_targets(read_batch(self, batch), key=key)
        loss, loss_cache = self.forward_loss(logits, targets, smoothing=self.smoothing(key))
        return loss, logits, LossCache(cache, loss_cache)
