"""Second derivatives: a backward of the backward, checked as the gradients of a function of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ops.second.found import second_order_registry
from ..gradients import functions_of
from ..pairs import Parameters, argument_names, check
from ..refusals import is_floating
from ..report import GradientCheckError, GradientReport
from ..settings import DEFAULT, CheckSettings
from .calls import copied, drawn_like, gradients_of, moves, run


def check_second(
    pair: Any,
    backward_backward: Callable[..., Any] | None,
    *inputs: Any,
    settings: CheckSettings = DEFAULT,
    **options: Any,
) -> GradientReport:
    """Check a backward of the backward, for gradients of gradients.

    The backward is a function of the gradients of the outputs and of the inputs. Its own backward takes a gradient for
    each of the gradients that the backward returns.

    Args:
        pair: ``(forward, backward)`` or an object with both.
        backward_backward: ``backward_backward(ddx, ..., dout, ..., cache)`` gets a gradient for each input with one,
            then the gradients of the outputs and the cache of the forward. It returns the gradients of the douts, and
            then those of the inputs; ``None`` for an input without one. ``None`` in place of the function finds that of
            an operation of minitrain by its name (`minitrain.ops.second_order_registry`).
        inputs: of the forward.
        settings: how closely to check.
        options: keyword arguments of the forward.

    Returns:
        The worst relative error with respect to each dout and each input.

    Raises:
        GradientMismatch: if a second derivative is wrong.
        GradientCheckError: if it cannot be checked.

    Example:
        >>> pair = (lambda x: (x**3, x)), (lambda dout, x: 3 * x**2 * dout)
        >>> def second(ddx, dout, x): return 3 * x**2 * ddx, 6 * x * dout * ddx
        >>> print(check_second(pair, second, np.array([0.5, 2.0])).worst < 1e-8)
        True
        >>> from minitrain.ops import registry
        >>> check_second(registry()["softmax"], None, np.array([[0.5, 2.0]])).worst < 1e-8
        True
    """
    values = copied(inputs)
    rng = np.random.default_rng([settings.seed, 5])
    outputs = run(pair, values, options)[0]
    douts = [drawn_like(out, rng) for out in outputs if is_floating(out)]
    names = argument_names(functions_of(pair)[0], len(inputs))
    kept = [i for i, (name, x) in enumerate(zip(names, values, strict=True))
            if moves(x) and name not in settings.no_gradient]  # fmt: skip
    if backward_backward is None:
        backward_backward = _found_by_name(pair, kept, len(douts), len(values))
    labels = ["dout"] if len(douts) == 1 else [f"dout{i}" for i in range(len(douts))]

    def forward(*arguments: Any) -> tuple[Any, ...]:
        given, changed = arguments[: len(douts)], arguments[len(douts) :]
        _, cache, backward = run(pair, changed, options)
        gradients = gradients_of(backward, given, cache, len(changed))
        out = [gradients[i] if gradients[i] is not None else np.zeros_like(changed[i]) for i in kept]
        return (*out, (given, changed))

    def backward(*ddxs_and_cache: Any) -> list[Any]:
        *ddxs, (given, changed) = ddxs_and_cache
        _, cache, _ = run(pair, changed, options)  # anew: the first order's backward may have used its cache up
        found = backward_backward(*ddxs, *given, cache)
        return list(found) if isinstance(found, tuple | list) else [found]

    return check(forward, backward, [*douts, *values], {}, Parameters(), settings, names=[*labels, *names])


def _found_by_name(pair: Any, kept: Sequence[int], douts: int, inputs: int) -> Callable[..., Any]:
    """The function of an operation, for arguments ``ddx`` of the ``kept`` inputs alone; it takes one for each input."""
    found = second_order_registry()
    name = getattr(pair, "name", None)
    if name not in found:
        raise GradientCheckError(
            f"check_second: {name or 'the pair'} has no backward of its backward by name; there are "
            f"{', '.join(sorted(found))}. Give the function as the second argument"
        )
    function = found[name].backward
    gradients = len(inspect.signature(function).parameters) - douts - 1  # then the douts and the cache

    def spread(*arguments: Any) -> list[Any]:
        ddxs: list[Any] = [None] * gradients
        for place, ddx in zip(kept, arguments, strict=False):
            ddxs[place] = ddx
        return list(function(*ddxs, *arguments[len(kept) :]))[: douts + inputs]

    return spread
