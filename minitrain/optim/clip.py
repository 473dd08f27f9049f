"""Gradient clipping: by global norm (Pascanu, Mikolov, Bengio, 2013, arXiv:1211.5063), by value, adaptively.

One infinite gradient would make every scale zero, and a NaN would spread. All functions here raise an error for such
gradients before they change any.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module, is_cupy, to_number
from ..backend.deferred import watch
from ..errors import NonFiniteError
from ..nn.core.assign import matching
from ..nn.core.groups import Match
from ..nn.core.module import Module
from ..nn.core.nonfinite import first_bad_gradient, first_bad_parameter
from ..ops.contract.op import with_twin
from .checks import NOT_NEGATIVE, POSITIVE
from .groups import gradients


class Clip(NamedTuple):
    """The outcome of clipping: two numbers, or two arrays () on a GPU (see `clip_without_waiting`)."""

    norm: Any  # global norm of the mean gradient, before clipping
    scale: Any  # factor for the optimizer: clips, and divides the summed gradient by the count


@with_twin
def sum_of_squares(x: Array) -> Any:
    """Sum of the squares of all elements, accumulated in float64: a number, or an array () on a GPU."""
    flat = x.reshape(-1)
    squares = flat @ flat if flat.dtype == "float64" else array_module(x).square(flat, dtype="float64").sum()
    return squares if is_cupy(x) else float(squares)


def compute_grad_norm(model: Module) -> float:
    """The Euclidean norm of all gradients of ``model`` together; NaN or infinite if one of them is."""
    return math.sqrt(to_number(_sum_of_all(model)))


def _sum_of_all(model: Module) -> Any:
    return sum(map(sum_of_squares, gradients(model)))


def finite_grad_norm(model: Module) -> float:
    """``compute_grad_norm(model)``, which must be finite.

    Raises:
        NonFiniteError: if it is not; the message names the first bad parameter or gradient.
    """
    norm = compute_grad_norm(model)
    if not math.isfinite(norm):
        reason = first_bad_parameter(model) or first_bad_gradient(model) or "its squares overflow"
        raise NonFiniteError(f"the gradient's norm is {norm}: {reason}")
    return norm


def clip_by_global_norm(model: Module, max_norm: float | None, *, count: float = 1.0) -> Clip:
    """Compute the factor that limits the norm of the mean gradient; gradients are not changed.

    Gradients are sums over all targets of a step. Dividing by ``count`` makes them means. That division and the
    clipping are one factor, which the optimizer applies as it reads each gradient.

    Args:
        model: its gradients are measured.
        max_norm: the limit; ``None`` or infinity for none.
        count: number of targets the gradients were summed over.

    Returns:
        Clip(norm, scale): pass ``scale`` to ``optimizer.step``.

    Raises:
        ConfigError: if the limit is not above zero.
        NonFiniteError: if a gradient is NaN or infinite; the message names it.
    """
    if max_norm != math.inf:
        POSITIVE.check("clip_by_global_norm", max_norm=max_norm)
    return clip_to(finite_grad_norm(model), max_norm, count=count)


def clip_to(total: float, max_norm: float | None, *, count: float) -> Clip:
    """`clip_by_global_norm` of gradients whose norm is known.

    Args:
        total: the norm of the summed gradient.
        max_norm: the limit of the mean gradient; ``None`` or infinity for none.
        count: number of targets of the sum.
    """
    norm = total / count if count else math.nan
    limit = math.inf if max_norm is None else max_norm
    return Clip(norm, min(1.0, limit / (norm + 1e-6)) / count if count else 0.0)


def clip_without_waiting(model: Module, max_norm: float | None, *, count: Any) -> Clip:
    """`clip_by_global_norm` of a model on a GPU, without a wait for the norm: it stays there, and so does the factor.

    An error for a gradient that is not finite comes with the next transfer to the host. By then the optimizer may have
    used it, so it does not say which gradient it was.

    Args:
        model: its gradients are measured.
        max_norm: the limit; ``None`` or infinity for none.
        count: number of targets the gradients were summed over: a number, or an array () on the GPU.

    Returns:
        Clip(norm, scale), both () and float64.

    Raises:
        ConfigError: if the limit is not above zero.
    """
    if max_norm != math.inf:
        POSITIVE.check("clip_by_global_norm", max_norm=max_norm)
    total = _sum_of_all(model)
    xp = array_module(total)
    length = xp.sqrt(total)
    watch(xp, "the gradient's norm", (~xp.isfinite(length)).astype("int64"), 0, lambda _: NonFiniteError(_TOO_LATE))
    norm = length / count
    limit = math.inf if max_norm is None else max_norm
    return Clip(norm, xp.minimum(1.0, limit / (norm + 1e-6)) / count)


_TOO_LATE = (
    "the gradient's norm was NaN or infinite in an update since the GPU was last waited for, and the weights were "
    "updated with it; with trainer.log_every=1, or on a CPU, the error names the array"
)


def clip_by_value(model: Module, max_value: float, *, count: float = 1.0) -> float:
    """Limit every element of the mean gradient to ``[-max_value, max_value]``, in place.

    This changes the direction of the gradient; clipping by norm keeps it.

    Args:
        model: its gradients are clipped; they stay sums over ``count`` targets.
        max_value: the limit, of the mean gradient.
        count: number of targets the gradients were summed over.

    Returns:
        The factor for ``optimizer.step``, ``1 / count``.

    Raises:
        ConfigError: if the limit is not above zero.
        NonFiniteError: if a gradient is NaN or infinite; the message names it, and no gradient is changed.
    """
    POSITIVE.check("clip_by_value", max_value=max_value)
    finite_grad_norm(model)
    for grad in gradients(model):
        array_module(grad).clip(grad, -max_value * count, max_value * count, out=grad)
    return 1 / count if count else 0.0


def clip_adaptive(
    model: Module, max_ratio: float = 0.01, *, eps: float = 1e-3, match: Match = "*", count: float = 1.0
) -> float:
    """Limit each gradient relative to the size of its own weights, in place (Brock et al., 2021, arXiv:2102.06171).

    The norms are unit-wise. A unit holds the weights of one output: a row of a matrix ``(out, in)``, a filter of a
    convolution ``(out, ...)``, or a whole vector. With w and g of one unit::

        g <- g * min(1, max_ratio * max(|w|, eps) / |g|)

    Args:
        model: its gradients are clipped; they stay sums over ``count`` targets.
        max_ratio: the limit of ``|g| / |w|``, of the mean gradient.
        eps: smallest norm of a unit's weights in the formula, so that weights of zero can change.
        match: which parameters to clip: a pattern of paths, or a function of path and parameter. The paper leaves
            out the last layer: ``match=lambda path, parameter: not path.startswith("head")``.
        count: number of targets the gradients were summed over.

    Returns:
        The factor for ``optimizer.step``, ``1 / count``.

    Raises:
        ConfigError: if a limit is out of range, or nothing matches.
        NonFiniteError: if a gradient is NaN or infinite; the message names it, and no gradient is changed.
    """
    POSITIVE.check("clip_adaptive", max_ratio=max_ratio)
    NOT_NEGATIVE.check("clip_adaptive", eps=eps)
    matched = matching(model, match)
    finite_grad_norm(model)
    for parameter in matched.values():
        if parameter.trainable and not parameter.fresh:
            grad = parameter.grad
            xp = array_module(grad)
            longest = max_ratio * count * xp.maximum(_unit_norms(parameter.data), eps)
            with np.errstate(over="ignore"):
                norms = _unit_norms(grad)
            if is_cupy(norms):  # a look at them would wait
                norms = xp.where(xp.isfinite(norms), norms, _unit_norms(grad.astype("float64")))
            elif not xp.isfinite(norms).all():  # squares overflow sooner than gradients
                norms = _unit_norms(grad.astype("float64"))
            norms = xp.maximum(norms, xp.finfo(grad.dtype).tiny)  # avoids 0 / 0
            grad *= xp.minimum(longest / norms, 1).astype(grad.dtype)
    return 1 / count if count else 0.0


def _unit_norms(x: Array) -> Array:
    """(N, ...) -> (N, 1, ...) Euclidean norms; one norm, of shape (1,), for a vector."""
    axes = tuple(range(1, x.ndim)) or None
    squares = array_module(x).square(x).sum(axis=axes, keepdims=True)
    return array_module(x).sqrt(squares)  # type: ignore[no-any-return]
