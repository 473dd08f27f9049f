"""Forward mode against reverse mode: one dot product, which needs no step and no difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..pairs import argument_names
from ..report import ArgumentReport, GradientMismatch, GradientReport, Mismatch
from ..settings import DEFAULT, CheckSettings
from .calls import copied, dot, drawn_like, gradients_of, moves, run

DIGITS = 1e-11  # of the sizes of all products: rounding, with room for long sums


def check_jvp(
    pair: Any, jvp: Callable[..., Any], *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any
) -> GradientReport:
    """Check that a backward is the transpose of a forward-mode derivative.

    For a random tangent v of one input and a random gradient d of the outputs, ``<d, J v>`` by the forward mode and
    ``<Jᵀ d, v>`` by the backward are the same number. It agrees to eleven digits, where finite differences have seven.
    It says nothing of mistakes that both share: check one of them by ``check_gradients``.

    Args:
        pair: ``(forward, backward)`` or an object with both.
        jvp: ``jvp(inputs, tangents, **options)`` returns the tangent of the output, or a tuple of them. Tangents are
            zero for all inputs but one, and ``None`` for an input without a gradient.
        inputs: of the forward.
        settings: the seed, the number of directions, and ``no_gradient``.
        options: keyword arguments of the forward, given to ``jvp``, too.

    Returns:
        The worst relative error of each input.

    Raises:
        GradientMismatch: if the two disagree.

    Example:
        >>> pair = (lambda x: (x**3, x)), (lambda dout, x: 3 * x**2 * dout)
        >>> check_jvp(pair, lambda inputs, tangents: 3 * inputs[0] ** 2 * tangents[0], np.ones(3)).worst < 1e-14
        True
    """
    rng = np.random.default_rng([settings.seed, 3])
    values = copied(inputs)
    names = argument_names(pair[0] if isinstance(pair, tuple) else pair.forward, len(inputs))
    chosen = [i for i, (name, x) in enumerate(zip(names, values, strict=True))
              if moves(x) and name not in settings.no_gradient]  # fmt: skip
    passed: list[ArgumentReport] = []
    wrong: list[Mismatch] = []
    for place in chosen:
        errors = []
        for _ in range(settings.directions):
            outputs, cache, backward = run(pair, values, options)
            douts = [drawn_like(out, rng) for out in outputs]
            tangents = [np.zeros_like(x) if i in chosen else None for i, x in enumerate(values)]
            tangents[place] = drawn_like(values[place], rng)
            pushed = jvp(values, tangents, **options)
            pushed = list(pushed) if isinstance(pushed, tuple | list) else [pushed]
            gradient = gradients_of(backward, douts, cache, len(values))[place]
            gradient = np.zeros_like(values[place]) if gradient is None else gradient
            ahead, size = dot(douts, pushed)
            back, other = dot([gradient], [tangents[place]])
            gap = abs(ahead - back)
            errors.append(0.0 if gap == 0 else gap / max(size, other))
        error, shape = max(errors), values[place].shape
        if error <= DIGITS:
            passed.append(ArgumentReport(names[place], shape, error))
        else:
            summary = f"{names[place]} {shape}: <d, J v> is {ahead:.12g} forwards and {back:.12g} backwards"
            hint = "one of the two derivatives is wrong: check_gradients tells which"
            wrong.append(Mismatch(names[place], shape, None, back, ahead, error, summary, hint))
    if wrong:
        raise GradientMismatch(tuple(wrong), tuple(passed))
    return GradientReport(tuple(passed))
