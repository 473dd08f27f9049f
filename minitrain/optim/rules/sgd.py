"""Stochastic gradient descent with momentum (Polyak, 1964) and Nesterov's variant (Sutskever et al., ICML 2013).

With gradient g, momentum buffer b, step count t::

    g <- g + weight_decay w                       decay as an L2 penalty
    b <- g                                        at t = 1
    b <- momentum b + (1 - dampening) g           after that
    w <- w - lr * b                               Nesterov: w <- w - lr (g + momentum b)

Without momentum there is no buffer, and ``w <- w - lr * g``.
"""

from __future__ import annotations

from ...backend.arrays import Array
from ...errors import ConfigError
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ..arithmetic import coupled_gradient
from ..optimizer import Moments, Optimizer
from ..registry import register_optimizer


@with_twin
def sgd_update(
    weight: Array,
    grad: Array,
    buffer: Array | None,
    *,
    step: int,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """One update of the weights and of the momentum buffer b, in place; ``None`` for no buffer.

    ``grad`` is left unchanged; ``step`` counts from 1. For the settings see `SGD`, for the rest `Optimizer.update`.
    """
    g = coupled_gradient(weight, grad, weight_decay=weight_decay, grad_scale=grad_scale)
    if buffer is not None:
        if step == 1:
            buffer[...] = g
        else:
            buffer *= momentum
            buffer += (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    weight -= lr * g


@register_optimizer("sgd")
class SGD(Optimizer):
    """Stochastic gradient descent for all trainable parameters of a model.

    Args:
        model, lr: see `Optimizer`.
        momentum: decay of the momentum buffer; 0 for none.
        dampening: the part of the gradient that does not enter the buffer.
        nesterov: Nesterov's momentum; it needs a ``momentum`` above 0 and no ``dampening``.
        weight_decay: L2 penalty on matrices and tables.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and (momentum == 0 or dampening != 0):
            raise ConfigError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, not momentum = {momentum} and "
                f"dampening = {dampening}"
            )
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        super().__init__(model, ("momentum_buffer",) if momentum else (), lr=lr, weight_decay=weight_decay)

    def update(self, weight: Array, grad: Array, moments: Moments, **rates: float) -> None:
        """See ``sgd_update``."""
        sgd_update(
            weight,
            grad,
            moments.get("momentum_buffer"),
            step=self.steps,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
            **rates,
        )
