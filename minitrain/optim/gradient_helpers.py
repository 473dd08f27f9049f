"""Helpers for gradients under the names that other libraries use, for your own training loop."""

from __future__ import annotations

from ..nn.core.module import Module
from .checks import POSITIVE
from .clip import finite_grad_norm
from .groups import gradients


def clip_gradients(model: Module, max_norm: float) -> float:
    """Scale the gradients down, in place, so that their global norm is at most ``max_norm``.

    `clip_by_global_norm` costs less: it does not change the gradients, and the optimizer applies the factor.

    Args:
        model: its gradients are scaled.
        max_norm: the limit.

    Returns:
        The norm before clipping.

    Raises:
        ConfigError: if the limit is not above zero.
        NonFiniteError: if a gradient is NaN or infinite; the message names it, and no gradient is changed.
    """
    POSITIVE.check("clip_gradients", max_norm=max_norm)
    norm = finite_grad_norm(model)
    if norm > max_norm:
        for grad in gradients(model):
            grad *= max_norm / norm
    return norm


def zero_gradients(model: Module) -> None:
    """Clear all gradients of ``model``."""
    model.zero_grad()
