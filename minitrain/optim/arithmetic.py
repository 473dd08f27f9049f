"""Formulas that several optimizers and averages share."""

from __future__ import annotations

from ..backend.arrays import Array


def coupled_gradient(weight: Array, grad: Array, *, weight_decay: float, grad_scale: float) -> Array:
    """The gradient plus weight decay as an L2 penalty, ``grad_scale * grad + weight_decay * weight``.

    Clipping does not affect the penalty: ``grad_scale`` is not applied to it. The result is a fresh array.
    """
    g: Array = grad * weight.dtype.type(grad_scale)
    if weight_decay:
        g += weight_decay * weight
    return g


def update_mean(mean: Array, value: Array, weight: float) -> None:
    """Move a running mean towards ``value`` in place: ``mean <- (1 - weight) mean + weight value``.

    It is computed as ``mean += weight * (value - mean)``. Rounded to float32, the two factors of the formula would not
    add up to 1, which biases the mean over many steps: by 2e-4 of its size for a weight of 1e-4.
    """
    mean += weight * (value - mean)
