"""Clipping by global norm (Pascanu, Mikolov, Bengio, 2013, arXiv:1211.5063), and by value."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..backend.arrays import Array, array_module
from ..errors import ConfigError
from ..nn.module import Module
from ..ops.contract import with_twin
from .groups import gradients


class Clip(NamedTuple):
    """The outcome of clipping."""

    norm: float  # global norm of the mean gradient, before clipping
    scale: float  # factor for the optimizer: clips, and divides the summed gradient by the count


@with_twin
def sum_of_squares(x: Array) -> float:
    """Sum of the squares of all elements, accumulated in float64."""
    flat = x.reshape(-1)
    if flat.dtype == "float64":
        return float(flat @ flat)
    return float(array_module(x).square(flat, dtype="float64").sum())


def clip_by_global_norm(model: Module, max_norm: float | None, *, count: float = 1.0) -> Clip:
    """Find the factor that limits the norm of the mean gradient; gradients are not touched.

    Gradients are sums over all targets of a step. Dividing by ``count`` makes them means; that division and the
    clipping are one factor, which the optimizer applies while it reads each gradient anyway.

    Args:
        model: its gradients are measured.
        max_norm: the limit; ``None`` or infinity for none.
        count: number of targets the gradients were summed over.

    Returns:
        Clip(norm, scale): pass ``scale`` to ``optimizer.step``. With NaN or infinite gradients the norm says so.
    """
    total = sum(map(sum_of_squares, gradients(model)))
    norm = math.sqrt(total) / count if count else math.nan
    limit = math.inf if max_norm is None else max_norm
    return Clip(norm, min(1.0, limit / (norm + 1e-6)) / count if count else 0.0)


def clip_by_value(model: Module, max_value: float, *, count: float = 1.0) -> float:
    """Limit every element of the mean gradient to ``[-max_value, max_value]``, in place.

    This turns the gradient as well as shortening it; clipping by norm keeps its direction. NaN stays NaN.

    Args:
        model: its gradients are clipped; they stay sums over ``count`` targets.
        max_value: the limit, of the mean gradient.
        count: number of targets the gradients were summed over.

    Returns:
        The factor for ``optimizer.step``, ``1 / count``.

    Raises:
        ConfigError: if the limit is not above zero.
    """
    if not max_value > 0:
        raise ConfigError(f"clip_by_value: max_value = {max_value} must be more than 0")
    for grad in gradients(model):
        array_module(grad).clip(grad, -max_value * count, max_value * count, out=grad)
    return 1 / count if count else 0.0
