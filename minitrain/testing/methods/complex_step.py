"""The complex step: derivatives to the last digits, where a forward runs on complex numbers.

For an analytic f, Im f(x + ih) / h is the derivative up to h², without any difference of near numbers. With h = 1e-100
nothing is left of the error (Squire, Trapp, Using complex variables to estimate derivatives of real functions, SIAM
Review 40(1), 1998).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import to_numpy
from ..differences import largest
from ..gradients import functions_of
from ..pairs import argument_names
from ..report import ArgumentReport, GradientCheckError, GradientMismatch, GradientReport, Mismatch
from ..settings import DEFAULT, CheckSettings
from .calls import copied, drawn_like, gradients_of, moves, run

STEP = 1e-100
DIGITS = 1e-11  # relative to the largest contribution
NEAR = 1e-4  # how close the values of a forward on complex numbers must come to those on real ones


def check_complex_step(pair: Any, *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any) -> GradientReport:
    """Check every element of every gradient to eleven digits.

    It takes one forward for each element, so it is for small inputs. The forward must be analytic: products, sums,
    powers, ``exp``, ``sin``, ``log``, ``tanh``. Comparisons, ``max`` and ``where`` by the real part are fine away from
    their kinks: write ``x.real > 0``. ``abs``, ``conj`` and norms by ``abs`` are not analytic; a forward with them is
    refused, as is one that converts to float64.

    Args:
        pair: ``(forward, backward)`` or an object with both.
        inputs: of the forward.
        settings: the seed and ``no_gradient``.
        options: keyword arguments of the forward.

    Returns:
        The worst error of each input, relative to the largest element of its gradient.

    Raises:
        GradientMismatch: if a gradient is wrong.
        GradientCheckError: if the forward is not analytic.

    Example:
        >>> pair = (lambda x: (np.exp(x), np.exp(x))), (lambda dout, y: dout * y)
        >>> check_complex_step(pair, np.linspace(-1, 1, 5)).worst < 1e-14
        True
    """
    rng = np.random.default_rng([settings.seed, 4])
    values = copied(inputs)
    forward = functions_of(pair)[0]
    names = argument_names(forward, len(inputs))
    outputs, cache, backward = run(pair, values, options)
    douts = [drawn_like(out, rng) for out in outputs]
    gradients = gradients_of(backward, douts, cache, len(values))
    passed: list[ArgumentReport] = []
    wrong: list[Mismatch] = []
    for place, (name, x) in enumerate(zip(names, values, strict=True)):
        if not moves(x) or name in settings.no_gradient:
            continue
        numeric = np.empty(x.size)
        for i in range(x.size):
            moved = list(values)
            moved[place] = x.astype(np.complex128)
            moved[place].reshape(-1)[i] += 1j * STEP
            numeric[i] = _slope(pair, moved, options, outputs, douts)
        numeric = numeric.reshape(x.shape)
        _confirm(pair, values, place, numeric, douts, outputs, options, rng)
        found = gradients[place]
        analytic = np.zeros(x.shape) if found is None else to_numpy(found)
        if analytic.shape != x.shape:
            problem = f"the gradient of {name} has shape {analytic.shape}, but {name} has shape {x.shape}"
            wrong.append(Mismatch(name, x.shape, None, None, None, float("inf"), problem, ""))
            continue
        gaps = abs(analytic - numeric)
        error = largest(gaps) / max(largest(numeric), np.finfo(float).tiny)
        if error <= DIGITS:
            passed.append(ArgumentReport(name, x.shape, error))
            continue
        index = tuple(int(i) for i in np.unravel_index(int(gaps.argmax()), x.shape))
        summary = (
            f"{name} {x.shape}: the worst element is {list(index)}: analytic {analytic[index]:.14g}, "
            f"by the complex step {numeric[index]:.14g}"
        )
        wrong.append(Mismatch(name, x.shape, index, float(analytic[index]), float(numeric[index]), error, summary, ""))
    if wrong:
        raise GradientMismatch(tuple(wrong), tuple(passed))
    return GradientReport(tuple(passed))


def _slope(pair: Any, moved: list[Any], options: Any, outputs: list[Any], douts: list[Any]) -> float:
    """The derivative of ``sum(dout * out)`` along the imaginary part."""
    try:
        found = run(pair, moved, options)[0]
    except Exception as error:
        raise GradientCheckError(
            f"the forward does not run on complex numbers ({type(error).__name__}: {error}): use check_gradients"
        ) from error
    for out, before in zip(found, outputs, strict=True):
        gap = largest(to_numpy(out).real - to_numpy(before))
        if np.asarray(out).dtype.kind != "c" or gap > NEAR * max(1.0, largest(to_numpy(before))):
            raise GradientCheckError(
                "the forward drops the imaginary part, or gives another value for complex numbers: it is not analytic "
                "(abs, conj, a cast?); use check_gradients"
            )
    return float(sum((d * out.imag).sum() for d, out in zip(douts, found, strict=True))) / STEP


def _confirm(
    pair: Any,
    values: list[Any],
    place: int,
    numeric: Any,
    douts: list[Any],
    outputs: list[Any],
    options: Any,
    rng: np.random.Generator,
) -> None:
    """Refuse a forward whose complex step is not its derivative, by one difference along a random direction."""
    direction = rng.standard_normal(values[place].shape)
    expected, step = float((numeric * direction).sum()), 1e-5
    ends = []
    for sign in (1, -1):
        moved = list(values)
        moved[place] = values[place] + sign * step * direction
        ends.append(sum(float((d * out).sum()) for d, out in zip(douts, run(pair, moved, options)[0], strict=True)))
    measured = (ends[0] - ends[1]) / (2 * step)
    scale = max(abs(measured), float(np.linalg.norm(numeric * direction)), 1e-6 * abs(ends[0]))
    if abs(measured - expected) > 1e-2 * scale:
        raise GradientCheckError(
            f"the complex step gives {expected:.6g} along a direction, a difference {measured:.6g}: the forward is not "
            "analytic (abs, conj, a comparison of complex numbers?); use check_gradients"
        )
