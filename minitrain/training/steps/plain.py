"""One step of a training: forward, backward and update, launched one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from typing import Any

from ...backend.arrays import to_number
from ...errors import NonFiniteError
from ...ops.contract.loss import Loss
from ...optim import clip_by_global_norm, clip_without_waiting
from ...random import Key
from ..loss_scale import LossScale
from ..nonfinite import as_double, check_total, why_not_finite
from ..parallel.together import Together
from ..privacy.gradients import PrivateGradients, PrivateStep, one_by_one
from ..state import Gradient, Update
from .whole_batch import Compared, WholeBatch


def sum_of(losses: Iterable[Loss]) -> Loss:
    """The sum of the losses of micro-batches."""
    total: Any = 0.0
    count: Any = 0.0
    for loss in losses:
        total = total + loss.total  # not in place: arrays of a GPU are kept by others too
        count = count + loss.count
    return Loss(total, count)


def train_step(
    model: Any,
    optimizer: Any,
    micro_batches: Iterable[tuple[int, Any]],
    *,
    lr: float,
    key: Key | None = None,
    max_grad_norm: float | None = None,
    objective: Any = None,
    scaler: LossScale | None = None,
    private: PrivateStep | None = None,
    together: Together | None = None,
    on_substep: Callable[[Loss], object] = lambda loss: None,
    go_on: Callable[[Gradient], bool] = lambda gradient: True,
    wait: bool = True,
) -> Update:
    """Forward, backward and one update.

    Gradients add up as sums and are divided by the number of targets: any split of a batch gives the same gradient. An
    objective that compares the samples of a batch sees all of it in spite of that, see `WholeBatch`.

    Args:
        model: has ``loss`` and ``loss_backward``, or an ``objective`` has them.
        optimizer: has ``zero_grad``, ``set_lr`` and ``step``.
        micro_batches: pairs of the index of the first sample in the whole batch and the micro-batch; a private step on
            several ranks takes a list of batches of one sample as a micro-batch, see `PoissonLoader`.
        lr: learning rate of this update.
        key: random key of this step. ``None`` calls the model as an evaluation does: it drops nothing and smooths no
            label.
        max_grad_norm: a longer gradient is scaled down to this length; ``None`` leaves it.
        objective: has ``loss`` and ``loss_backward``; the model by default.
        scaler: scales the loss for the backward. A gradient that overflows then lowers the scale and skips the update.
        private: makes the gradient a private one: samples one by one, cut, and with noise. A batch may be empty then.
        together: adds the gradients and losses of several ranks; ``micro_batches`` are those of this one.
        on_substep: called with the loss of each micro-batch after its backward; once a step if the loss compares
            samples.
        go_on: called with the complete gradient; ``False`` leaves the weights as they are.
        wait: whether to look at the loss and the norm before the weights are touched. With ``False``, for a model on a
            GPU, both stay there as arrays (), and the host goes on while the GPU computes. The errors below then come
            with the next transfer to the host, when the weights may have been touched.

    Raises:
        DataError: if no target of the batch counts.
        NonFiniteError: if the loss or the gradient is not finite, naming the first bad array; no weight is touched. It
            is a ``BadSampleError`` if the batch is not finite itself.
    """
    objective = model if objective is None else objective
    optimizer.set_lr(lr)
    optimizer.zero_grad()
    number = to_number if wait else as_double
    gradients = None if private is None else PrivateGradients(model, private.clip, private.noise_multiplier)
    scaled = () if scaler is None else (scaler.scale,)

    def loss_of(first_sample: int, batch: Any) -> Loss:
        at_first = None if key is None else key.at_sample(first_sample)
        loss, cache = objective.loss(batch, key=at_first)
        if wait and not math.isfinite(to_number(loss.total)):
            raise why_not_finite(to_number(loss.total), model, batch, cache, first_sample)
        objective.loss_backward(cache, *scaled)
        if gradients is not None:
            gradients.add(to_number(loss.count))
        on_substep(loss)
        return Loss(number(loss.total), number(loss.count))

    def losses_of_whole(whole: WholeBatch, loss: Loss, cache: Compared) -> Iterator[Loss]:
        for first_sample in whole.backward(cache, *scaled):  # the loss belongs to the batch: it counts with sample 0
            if first_sample == whole.parts[-1][0]:
                on_substep(loss)
            yield Loss(0.0, 0.0) if first_sample else Loss(number(loss.total), number(loss.count))

    if together is not None and gradients is not None:
        sums = (sum_of(starmap(loss_of, one_by_one(enumerate(part, first)))) for first, part in micro_batches)
        total, count = together.add_up_private(gradients, sums)
    else:
        parts = list(micro_batches if gradients is None else one_by_one(micro_batches))
        shared = together is not None and together.group.size > 1
        losses: Iterator[Loss]
        if WholeBatch.suits(objective) and gradients is None and (shared or len(parts) > 1):
            whole = WholeBatch(objective, parts, key, None if together is None else together.group)
            loss, cache = whole.loss()
            if wait and not math.isfinite(to_number(loss.total)):
                raise whole.why_not_finite(to_number(loss.total), model, cache)  # on all ranks
            losses = losses_of_whole(whole, loss, cache)
        else:
            losses = starmap(loss_of, parts)
        total, count = sum_of(losses) if together is None else together.add_up(model, losses, len(parts))
    divisor = count
    if private is not None and gradients is not None:
        gradients.finish(private.key)
        divisor = private.batch_size
    else:
        check_total(total, count)
    if scaler is not None:
        scaler.unscale(model)
    try:
        if together is None:
            clip = (clip_by_global_norm if wait else clip_without_waiting)(model, max_grad_norm, count=divisor)
        else:
            clip = together.clip(model, max_grad_norm, count=divisor)
    except NonFiniteError:
        if scaler is None or not scaler.back_off():
            raise
        return Update(total, count, lr, math.inf, skipped=True)
    if update := go_on(Gradient(Loss(total, count), clip)):
        optimizer.step(clip.scale)
    if scaler is not None:
        scaler.grow()
    return Update(total, count, lr, clip.norm, skipped=not update)
