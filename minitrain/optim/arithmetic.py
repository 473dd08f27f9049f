"""Formulas that several optimizers and averages share."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array, is_cupy


def scaled(grad: Array, grad_scale: Any) -> Array:
    """``grad_scale * grad`` in the dtype of ``grad``.

    Args:
        grad: a gradient.
        grad_scale: a number, or an array () on a GPU, where the factor comes from a norm that the host never sees.
    """
    factor = grad_scale.astype(grad.dtype) if is_cupy(grad_scale) else grad.dtype.type(grad_scale)
    product: Array = grad * factor
    return product


def coupled_gradient(weight: Array, grad: Array, *, weight_decay: float, grad_scale: Any) -> Array:
    """The gradient plus weight decay as an L2 penalty, ``grad_scale * grad + weight_decay * weight``.

    Clipping does not affect the penalty: ``grad_scale`` is not applied to it. The result is a fresh array.
    """
    g = scaled(grad, grad_scale)
    if weight_decay:
        g += weight_decay * weight
    return g


def late_numbers(late: Array, weight: Array) -> tuple[Array, ...]:
    """The numbers of an update that lie on a GPU, as arrays () in the dtype of the weights.

    Args:
        late: (n,) float64, see `Optimizer.numbers`.
        weight: the weights.
    """
    return tuple(late[i].astype(weight.dtype) for i in range(len(late)))


def update_mean(mean: Array, value: Array, weight: float) -> None:
    """Move a running mean towards ``value`` in place: ``mean <- (1 - weight) mean + weight value``.

    It is computed as ``mean += weight * (value - mean)``. Rounded to float32, the two factors of the formula would not
    add up to 1, which biases the mean over many steps: by 2e-4 of its size for a weight of 1e-4.
    """
    mean += weight * (value - mean)
