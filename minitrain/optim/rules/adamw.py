"""AdamW: Adam with decoupled weight decay (Loshchilov, Hutter, 2019, arXiv:1711.05101)."""

from __future__ import annotations

from typing import ClassVar

from ...nn.core.module import Module
from ..registry import register_optimizer
from .adam import Adam


@register_optimizer("adamw")
class AdamW(Adam):
    """The AdamW optimizer for all trainable parameters of a model: ``adam_update`` with decoupled decay.

    Args:
        model, lr, betas, eps: see `Adam`.
        weight_decay: decoupled weight decay on matrices and tables, not on biases and norms.
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(model, lr, betas=betas, eps=eps, weight_decay=weight_decay)
