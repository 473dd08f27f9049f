"""AdamW: Adam with decoupled weight decay (Loshchilov, Hutter, 2019, arXiv:1711.05101).

With gradient g, moments m and v, step count t::

    w <- w (1 - lr * weight_decay)                decay, apart from the gradient
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    w <- w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..optimizer import Optimizer


@with_twin
def adamw_update(
    weight: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """One AdamW update, in place.

    Args:
        weight: the weights.
        grad: their gradients, which are multiplied by ``grad_scale`` first and left unchanged.
        exp_avg: first moment m.
        exp_avg_sq: second moment v.
        step: number of this update, from 1.
        lr: learning rate.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the denominator.
        weight_decay: decoupled decay.
        grad_scale: the clipping factor, divided by the number of targets.
    """
    xp = array_module(weight)
    g = grad * weight.dtype.type(grad_scale)
    weight *= 1 - lr * weight_decay
    exp_avg *= beta1
    exp_avg += (1 - beta1) * g
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * g * g
    denominator = xp.sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    weight -= lr / (1 - beta1**step) * exp_avg / denominator


class AdamW(Optimizer):
    """The AdamW optimizer for all trainable parameters of a model.

    Weight decay applies to matrices and tables, not to biases and norms.

    Args:
        model, lr: as every `Optimizer` has them.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(
        self,
        model: Module,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.betas, self.eps = betas, eps
        super().__init__(model, ("exp_avg", "exp_avg_sq"), lr=lr, weight_decay=weight_decay)

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
        """See ``adamw_update``."""
        adamw_update(
            weight,
            grad,
            moments["exp_avg"],
            moments["exp_avg_sq"],
            step=self.steps,
            lr=lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.eps,
            weight_decay=weight_decay,
            grad_scale=grad_scale,
        )
