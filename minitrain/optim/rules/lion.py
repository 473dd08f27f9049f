"""Lion: evolved sign momentum (Chen et al., 2023, arXiv:2302.06675, algorithm 2).

With gradient g and momentum m::

    c <- beta1 m + (1 - beta1) g
    w <- w - lr * (sign(c) + weight_decay w)      decoupled decay, as in AdamW
    m <- beta2 m + (1 - beta2) g

Every weight moves by ``lr``. The rate should be 3 to 10 times smaller than for AdamW, and the decay larger by the same
factor.
"""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..arithmetic import late_numbers, scaled, update_mean
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer


@with_twin
def lion_update(
    weight: Array,
    grad: Array,
    exp_avg: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    grad_scale: float,
    late: Array | None = None,
) -> None:
    """One update of the weights and of the momentum m, ``exp_avg``, in place.

    ``grad`` is left unchanged. ``late`` holds the rate and the factor of the decay on a GPU, in place of ``lr``. For
    the settings see `Lion`, for the rest `Optimizer.update`.
    """
    rate, decay = (lr, 1 - lr * weight_decay) if late is None else late_numbers(late[:2], weight)
    g = scaled(grad, grad_scale)
    direction = array_module(weight).sign(beta1 * exp_avg + (1 - beta1) * g)
    weight *= decay
    weight -= rate * direction
    update_mean(exp_avg, g, 1 - beta2)


@register_optimizer("lion")
class Lion(Optimizer):
    """The Lion optimizer for all trainable parameters of a model.

    Args:
        model, lr: see `Optimizer`.
        betas: weight of the momentum in the direction of the step, and its decay.
        weight_decay: decoupled weight decay on matrices and tables.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        self.betas = betas
        super().__init__(model, ("exp_avg",), lr=lr, weight_decay=weight_decay)

    def numbers(self, moments: Moments, *, lr: float, weight_decay: float) -> tuple[float, ...]:
        """The rate, and the factor of the decay."""
        return lr, 1 - lr * weight_decay

    def update(self, weight: Array, grad: Array, moments: Moments, **rates: Any) -> None:
        """See ``lion_update``."""
        lion_update(weight, grad, moments["exp_avg"], beta1=self.betas[0], beta2=self.betas[1], **rates)
