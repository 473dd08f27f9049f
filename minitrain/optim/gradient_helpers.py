"""Gradients under the names of other libraries, for a loop of one's own."""

from __future__ import annotations

import math

from ..nn.core.module import Module
from .checks import POSITIVE
from .clip import sum_of_squares
from .groups import gradients


def compute_grad_norm(model: Module) -> float:
    """The Euclidean norm of all gradients of ``model`` together; NaN or infinite if one of them is."""
    return math.sqrt(sum(map(sum_of_squares, gradients(model))))


def clip_gradients(model: Module, max_norm: float) -> float:
    """Scale the gradients down, in place, so that their common norm is ``max_norm`` at most.

    `clip_by_global_norm` costs less: it leaves the gradients alone and gives the factor to the optimizer.

    Args:
        model: its gradients are scaled.
        max_norm: the limit.

    Returns:
        The norm that they had.

    Raises:
        ConfigError: if the limit is not above zero.
    """
    POSITIVE.check("clip_gradients", max_norm=max_norm)
    norm = compute_grad_norm(model)
    if norm > max_norm:
        for grad in gradients(model):
            grad *= max_norm / norm
    return norm


def zero_gradients(model: Module) -> None:
    """Forget all gradients of ``model``: the next backward begins anew."""
    model.zero_grad()
