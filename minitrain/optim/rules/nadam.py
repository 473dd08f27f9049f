"""NAdam: Adam with Nesterov momentum (Dozat, 2016, ICLR workshop), with weight decay as an L2 penalty.

With gradient g, moments m and v, step count t::

    mu_t = beta1 (1 - 0.96^(t * momentum_decay) / 2)        the momentum rises with the steps
    g <- g + weight_decay w
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    mhat = mu_{t+1} m / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g / (1 - mu_1 ... mu_t)
    w <- w - lr * mhat / (sqrt(v / (1 - beta2^t)) + eps)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...backend.arrays import Array, array_module
from ...nn.core.module import Module
from ...ops.contract.op import with_twin
from ...states import Kind, Number
from ..optimizer import Optimizer, coupled_gradient


@with_twin
def nadam_update(
    weight: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    grad_rate: float,
    momentum_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """One update, in place.

    Args:
        weight: the weights.
        grad: their gradients, left unchanged.
        exp_avg: first moment m.
        exp_avg_sq: second moment v.
        step: number of this update, from 1.
        grad_rate: learning rate times the factor of g in mhat.
        momentum_rate: learning rate times the factor of m in mhat.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        grad_scale: factor of the gradients.
    """
    g = coupled_gradient(weight, grad, weight_decay=weight_decay, grad_scale=grad_scale)
    exp_avg *= beta1
    exp_avg += (1 - beta1) * g
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * g * g
    denominator = array_module(weight).sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    weight -= (momentum_rate * exp_avg + grad_rate * g) / denominator


class NAdam(Optimizer):
    """The NAdam optimizer for all trainable parameters of a model.

    Args:
        model, lr: as every `Optimizer` has them.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: L2 penalty on matrices and tables.
        momentum_decay: how fast the momentum rises from about a half of ``betas[0]`` to all of it.

    Attributes:
        momentum_product: mu_1 ... mu_t up to the last update; part of the state.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(
        self,
        model: Module,
        *,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ) -> None:
        self.betas, self.eps, self.momentum_decay = betas, eps, momentum_decay
        super().__init__(model, ("exp_avg", "exp_avg_sq"), lr=lr, weight_decay=weight_decay)
        self.momentum_product = 1.0

    def step(self, grad_scale: float = 1.0) -> None:
        """Update all weights from their gradients times ``grad_scale``."""
        self.momentum_product *= self._mu(self.steps + 1)
        super().step(grad_scale)

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
        """See ``nadam_update``."""
        product, following = self.momentum_product, self._mu(self.steps + 1)
        nadam_update(
            weight,
            grad,
            moments["exp_avg"],
            moments["exp_avg_sq"],
            step=self.steps,
            grad_rate=self.lr * (1 - self._mu(self.steps)) / (1 - product),
            momentum_rate=self.lr * following / (1 - product * following),
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.eps,
            weight_decay=weight_decay,
            grad_scale=grad_scale,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state, as every optimizer's, and ``momentum_product``."""
        return {**super().state_dict(), "momentum_product": self.momentum_product}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave, also one of an unpacked model for a packed one.

        Raises:
            CheckpointError: if it belongs to other parameters or to another optimizer. Nothing is loaded then.
        """
        super().load_state_dict(state)
        self.momentum_product = float(state["momentum_product"])

    def declared_state(self) -> dict[str, Kind]:
        """What a state may hold; see `minitrain.states`."""
        return {**super().declared_state(), "momentum_product": Number(low=0, high=1)}

    def _mu(self, step: int) -> float:
        return self.betas[0] * (1 - 0.5 * math.pow(0.96, step * self.momentum_decay))
