"""What is known of a training step: its gradient before the update, and what the update did."""

from __future__ import annotations

from typing import NamedTuple

from ..ops.contract.loss import Loss
from ..optim import Clip


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
        tokens: number of targets; the mean loss is ``loss / tokens``.
        lr: learning rate of the update.
        grad_norm: global norm of the mean gradient, before clipping.
        skipped: whether the weights were left as they were.
        step: number of updates done, this one included; 0 outside a trainer.
        seconds: duration of the step; 0 outside a trainer.
    """

    loss: float
    tokens: float
    lr: float
    grad_norm: float
    skipped: bool = False
    step: int = 0
    seconds: float = 0.0
