"""One training step, from batch to update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..errors import DataError, NonFiniteError
from ..nn.core.nonfinite import first_bad_parameter
from ..ops.contract.loss import Loss
from ..optim import Clip, clip_by_global_norm
from ..random import Key
from .nonfinite import first_bad_activation


class Gradient(NamedTuple):
    """The complete gradient of a step, before the update.

    Attributes:
        loss: summed loss of the batch, and its count.
        clip: norm of the mean gradient, and the factor that clips it.
    """

    loss: Loss
    clip: Clip


class Update(NamedTuple):
    """What one training step did.

    Attributes:
        loss: summed loss of the batch, in nats.
        tokens: number of tokens predicted; the mean loss is ``loss / tokens``.
        lr: learning rate of the update.
        grad_norm: global norm of the mean gradient, before clipping.
        skipped: whether the weights were left as they were.
    """

    loss: float
    tokens: float
    lr: float
    grad_norm: float
    skipped: bool = False


def train_step(
    model: Any,
    optimizer: Any,
    micro_batches: Iterable[tuple[int, Any]],
    *,
    lr: float,
    key: Key | None = None,
    max_grad_norm: float | None = None,
    objective: Any = None,
    on_substep: Callable[[Loss], object] = lambda loss: None,
    go_on: Callable[[Gradient], bool] = lambda gradient: True,
) -> Update:
    """Forward, backward and one update.

    Gradients add up as sums over all micro-batches and are divided by the number of tokens at the update: any
    split of a batch gives the gradient of the whole batch.

    Args:
        model: has ``loss`` and ``loss_backward``, or an ``objective`` has them.
        optimizer: has ``zero_grad``, ``set_lr`` and ``step``.
        micro_batches: pairs of the index of the first sample in the whole batch and the micro-batch.
        lr: learning rate of this update.
        key: random key of this step's dropout masks; ``None`` trains without.
        max_grad_norm: the gradient is scaled down to this length; ``None`` leaves it.
        objective: has ``loss`` and ``loss_backward``; the model by default.
        on_substep: called with the loss of each micro-batch after its backward.
        go_on: called with the complete gradient; ``False`` leaves the weights as they are.

    Raises:
        DataError: if no target of the batch counts.
        NonFiniteError: if the loss or the gradient is NaN or infinite, naming the first bad parameter, activation
            or gradient; the weights are not touched.
    """
    objective = model if objective is None else objective
    optimizer.set_lr(lr)
    optimizer.zero_grad()
    total = count = 0.0
    for first_sample, batch in micro_batches:
        rng = None if key is None else key.at_sample(first_sample)
        loss, cache = objective.loss(batch, rng=rng)
        if not math.isfinite(float(loss.total)):
            raise NonFiniteError(f"the loss is {float(loss.total)}: {_blame(model, cache)}")
        objective.loss_backward(cache)
        on_substep(loss)
        total += float(loss.total)
        count += float(loss.count)
    if not count:
        raise DataError("no target of this batch counts: all are masked out, there is nothing to learn from it")
    clip = clip_by_global_norm(model, max_grad_norm, count=count)
    update = go_on(Gradient(Loss(total, count), clip))
    if update:
        optimizer.step(clip.scale)
    return Update(total, count, lr, clip.norm, skipped=not update)


def _blame(model: Any, cache: Any) -> str:
    """The first thing that is not finite, in order of computation."""
    return first_bad_parameter(model) or first_bad_activation(cache) or "no single array is at fault"
