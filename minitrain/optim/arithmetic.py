"""Formulas that several optimizers and averages share."""

from __future__ import annotations

from ..backend.arrays import Array


def coupled_gradient(weight: Array, grad: Array, *, weight_decay: float, grad_scale: float) -> Array:
    """The gradient with weight decay as an L2 penalty in it, ``grad_scale * grad + weight_decay * weight``.

    Clipping does not reach the penalty: ``grad_scale`` is not applied to it. The result is a fresh array.
    """
    g: Array = grad * weight.dtype.type(grad_scale)
    if weight_decay:
        g += weight_decay * weight
    return g


def update_mean(mean: Array, value: Array, weight: float) -> None:
    """Move a running mean towards ``value`` in place: ``mean <- (1 - weight) mean + weight value``.

    It is computed as ``mean += weight * (value - mean)``. The two factors of the formula, each rounded to float32, do
    not add up to 1, and over many steps that moves the mean: by 2e-4 of its size for a weight of 1e-4.
    """
    mean += weight * (value - mean)
