"""Adam (Kingma, Ba, 2015, arXiv:1412.6980): the rule behind `Adam`, `AdamW` and `NAdam`.

With gradient g, moments m and v, step count t::

    g <- g + weight_decay w                       coupled: the decay is an L2 penalty (Adam, NAdam)
    w <- w (1 - lr * weight_decay)                decoupled: the decay is separate from the gradient (AdamW)
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    w <- w - lr * (a m + b g) / (sqrt(v / (1 - beta2^t)) + eps)

Adam and AdamW have ``a = 1 / (1 - beta1^t)`` and ``b = 0``; NAdam has its own.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..arithmetic import coupled_gradient, late_numbers, update_mean
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer


@with_twin
def adam_update(
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
    decoupled: bool = False,
    mix: tuple[float, float] | None = None,
    late: Array | None = None,
) -> None:
    """One update of the weights and of the moments m, ``exp_avg``, and v, ``exp_avg_sq``, in place.

    ``grad`` is left unchanged; ``step`` counts from 1. ``mix`` holds a and b, the factors of m and g; ``None`` is Adam.
    ``decoupled`` chooses the kind of decay. ``late`` holds the `adam_numbers` on a GPU, instead of ``step`` and ``lr``.
    For the settings see `Adam`, for the rest `Optimizer.update`.
    """
    rate, grad_rate, decay, root = (
        adam_numbers(step, lr, beta1, beta2, weight_decay, mix) if late is None else late_numbers(late, weight)
    )
    g = coupled_gradient(weight, grad, weight_decay=0.0 if decoupled else weight_decay, grad_scale=grad_scale)
    if decoupled:
        weight *= decay
    update_mean(exp_avg, g, 1 - beta1)
    update_mean(exp_avg_sq, g * g, 1 - beta2)
    direction = rate * exp_avg
    if mix is not None:
        direction += grad_rate * g
    weight -= direction / (array_module(weight).sqrt(exp_avg_sq) / root + eps)


def adam_numbers(
    step: int, lr: float, beta1: float, beta2: float, weight_decay: float, mix: tuple[float, float] | None
) -> tuple[float, float, float, float]:
    """The rates of first moment and gradient, the factor of decoupled decay, and ``sqrt(1 - beta2^t)``."""
    of_momentum, of_grad = (1 / (1 - beta1**step), 0.0) if mix is None else mix
    return lr * of_momentum, lr * of_grad, 1 - lr * weight_decay, math.sqrt(1 - beta2**step)


@register_optimizer("adam")
class Adam(Optimizer):
    """The Adam optimizer for all trainable parameters of a model.

    Args:
        model, lr: see `Optimizer`.
        betas: decay of the first and of the second moment.
        eps: added to the denominator.
        weight_decay: L2 penalty on matrices and tables. `AdamW` decays weights separately from the gradient instead.
    """

    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas, self.eps = betas, eps
        super().__init__(model, ("exp_avg", "exp_avg_sq"), lr=lr, weight_decay=weight_decay)

    def mix(self) -> tuple[float, float] | None:
        """The factors of first moment and gradient in the current update; ``None`` for Adam's."""
        return None

    def numbers(self, moments: Moments, *, lr: float, weight_decay: float) -> tuple[float, ...]:
        """See `adam_numbers`."""
        decay = weight_decay if self.decoupled else 0.0
        return adam_numbers(self.steps, lr, *self.betas, decay, self.mix())

    def update(self, weight: Array, grad: Array, moments: Moments, **rates: Any) -> None:
        """See ``adam_update``."""
        m, v, (beta1, beta2) = moments["exp_avg"], moments["exp_avg_sq"], self.betas
        kind = {"decoupled": self.decoupled, "mix": self.mix()}
        adam_update(weight, grad, m, v, step=self.steps, beta1=beta1, beta2=beta2, eps=self.eps, **kind, **rates)
