"""NAdam: Adam with Nesterov momentum (Dozat, 2016, ICLR workshop), with weight decay as an L2 penalty.

The moments are Adam's. The step also includes the gradient itself, with a momentum that increases with the step t::

    mu_t = beta1 (1 - 0.96^(t * momentum_decay) / 2)
    w <- w - lr * (a m + b g) / (sqrt(v / (1 - beta2^t)) + eps)
    a = mu_{t+1} / (1 - mu_1 ... mu_{t+1})
    b = (1 - mu_t) / (1 - mu_1 ... mu_t)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ...nn.core.module import Module
from ...states import Kind, Number
from ..registry import register_optimizer
from .adam import Adam


@register_optimizer("nadam")
class NAdam(Adam):
    """The NAdam optimizer for all trainable parameters of a model.

    Args:
        model, lr, betas, eps, weight_decay: see `Adam`.
        momentum_decay: how fast the momentum increases from about half of ``betas[0]`` to all of it.

    Attributes:
        momentum_product: mu_1 ... mu_t up to the last update; part of the state.
    """

    late_settings: ClassVar[frozenset[str]] = Adam.late_settings | {"momentum_product"}

    def __init__(
        self,
        model: Module,
        lr: float = 2e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ) -> None:
        self.momentum_decay = momentum_decay
        super().__init__(model, lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.momentum_product = 1.0

    def begin_update(self) -> None:
        """Multiply this step's momentum into the product."""
        self.momentum_product *= self._mu(self.steps)

    def mix(self) -> tuple[float, float]:
        """The factors a and b."""
        product, following = self.momentum_product, self._mu(self.steps + 1)
        return following / (1 - product * following), (1 - self._mu(self.steps)) / (1 - product)

    def state_dict(self) -> dict[str, Any]:
        """The state of every optimizer, and ``momentum_product``."""
        return {**super().state_dict(), "momentum_product": self.momentum_product}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that ``state_dict`` gave. A packed model may take that of an unpacked one.

        Raises:
            CheckpointError: if it belongs to other parameters or to another optimizer. Nothing is loaded then.
        """
        super().load_state_dict(state)
        self.momentum_product = float(state["momentum_product"])

    def declared_state(self) -> dict[str, Kind]:
        """The valid contents of a state; see `minitrain.states`."""
        return {**super().declared_state(), "momentum_product": Number(low=0, high=1)}

    def _mu(self, step: int) -> float:
        return self.betas[0] * (1 - 0.5 * math.pow(0.96, step * self.momentum_decay))
