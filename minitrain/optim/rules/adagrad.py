"""Adagrad (Duchi, Hazan, Singer, 2011, Journal of Machine Learning Research 12).

With gradient g, sum s of its squares, step count t::

    g <- g + weight_decay w                       decay as an L2 penalty
    s <- s + g^2
    w <- w - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps)
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..arithmetic import coupled_gradient
from ..groups import Span
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer


@with_twin
def adagrad_update(
    weight: Array,
    grad: Array,
    square_sum: Array,
    *,
    step: int,
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """One update of the weights and of the sum s of squares, in place.

    ``grad`` is left unchanged; ``step`` counts from 1. For the settings see `Adagrad`, for the rest `Optimizer.update`.
    """
    g = coupled_gradient(weight, grad, weight_decay=weight_decay, grad_scale=grad_scale)
    square_sum += g * g
    weight -= lr / (1 + (step - 1) * lr_decay) * g / (array_module(weight).sqrt(square_sum) + eps)


@register_optimizer("adagrad")
class Adagrad(Optimizer):
    """The Adagrad optimizer for all trainable parameters of a model.

    Args:
        model, lr: see `Optimizer`.
        lr_decay: how fast the rate falls with the steps, in addition to any schedule.
        initial_accumulator_value: the sum of squares at the start; more than 0 makes the first steps smaller.
        eps: added to the denominator.
        weight_decay: L2 penalty on matrices and tables.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr_decay, self.eps, self.initial_accumulator_value = lr_decay, eps, initial_accumulator_value
        super().__init__(model, ("sum",), lr=lr, weight_decay=weight_decay)

    def new_moments(self, span: Span, names: tuple[str, ...]) -> dict[str, Array]:
        """The sum of squares, ``initial_accumulator_value`` at the start."""
        moments = super().new_moments(span, names)
        moments["sum"] += self.initial_accumulator_value
        return moments

    def update(self, weight: Array, grad: Array, moments: Moments, **rates: float) -> None:
        """See ``adagrad_update``."""
        adagrad_update(weight, grad, moments["sum"], step=self.steps, lr_decay=self.lr_decay, eps=self.eps, **rates)
