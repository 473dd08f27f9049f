"""Checks functions of very many inputs, and says which wrong elements it would miss."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ..differences import ROUNDING, Probe
from ..gradients import functions_of
from ..pairs import argument_names
from ..refusals import is_floating
from ..report import GradientCheckError, GradientMismatch, Mismatch
from ..settings import DEFAULT, CheckSettings
from ..variables import Variable, VariableCheck
from .calls import drawn_like, gradients_of, moves, run

DEPTH = 60  # halvings in the search for a wrong element: more than any array needs


class LargeReport(NamedTuple):
    """A passed check of one input.

    Printed, it says what would have been noticed.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    """The worst relative error along a group of elements."""
    smallest: float
    """The smallest error of one element that is noticed for certain, relative to the typical size of the gradient."""
    sampled: int
    """How many elements were looked at alone."""

    @property
    def missed(self) -> float:
        """The probability of missing one wrong element whose error is below ``smallest``."""
        return 1 - self.sampled / max(1, math.prod(self.shape))

    def __str__(self) -> str:
        return (
            f"{self.name}  {self.shape}  worst relative error {self.error:.1e}; one element that is off by "
            f"{self.smallest:.1e} of the typical size is noticed for certain, one that is off by less is missed with "
            f"probability {self.missed:.6g}"
        )


def check_large(
    pair: Any,
    *inputs: Any,
    noticed: float = 0.01,
    sampled: int = 50,
    settings: CheckSettings = DEFAULT,
    **options: Any,
) -> tuple[LargeReport, ...]:
    """Check the gradient of each input along groups of its elements, each moved up or down by the same length.

    A random group of g elements has a derivative of about ``sqrt(g)`` typical elements, and one wrong element changes
    it by all of its error, whatever the signs are. So one that is off by ``tolerance * sqrt(g)`` of the typical size
    (the root mean square) is noticed for certain. The groups are made small enough for ``noticed``. Two errors in one
    group cancel only if they are equal. In addition, ``sampled`` random elements are looked at alone, for errors that
    are smaller than all that.

    For 10^8 inputs, the default tolerance and ``noticed=0.01`` take one group: five forwards. Each element that is
    looked at alone takes four more. Memory is needed for about twenty arrays of the input's size in float64, those of
    the functions included: a square of 10^8 numbers took 16.6 GB.

    Args:
        pair: ``(forward, backward)`` or an object with both. It is trusted not to write to its inputs, which
            ``check_gradients`` tests on small ones.
        inputs: of the forward; float64 arrays are moved and put back, not copied.
        noticed: an error of one element, relative to the root mean square of its gradient, that must be noticed.
        sampled: elements of each input to look at alone.
        settings: tolerance, step, seed and ``no_gradient``.
        options: keyword arguments of the forward.

    Returns:
        A report for each input.

    Raises:
        GradientMismatch: if a gradient is wrong; it names a wrong element, found by halving.
        GradientCheckError: if an output is not finite.
    """
    rng = np.random.default_rng([settings.seed, 7])
    values = [array_module(x).ascontiguousarray(x, dtype=np.float64) if moves(x) else x for x in inputs]
    names = argument_names(functions_of(pair)[0], len(inputs))
    outputs, cache, backward = run(pair, values, options)
    outputs = [array_module(out).array(out) for out in outputs if is_floating(out)]
    if not all(bool(array_module(out).isfinite(out).all()) for out in outputs):
        raise GradientCheckError("the forward returns NaN or infinity here: nothing can be differentiated")
    douts = [drawn_like(out, rng) for out in outputs]
    gradients = gradients_of(backward, [dout.copy() for dout in douts], cache, len(values))

    def evaluate() -> list[Array]:
        return [out for out in run(pair, values, options)[0] if is_floating(out)]

    probe = Probe(evaluate, outputs, douts, settings.step, ROUNDING)
    reports: list[LargeReport] = []
    wrong: list[Mismatch] = []
    for name, value, gradient in zip(names, values, gradients, strict=True):
        if not moves(value) or name in settings.no_gradient:
            continue
        if gradient is None or gradient.shape != value.shape:
            problem = f"the gradient of {name} has shape {np.shape(gradient)}, but {name} has shape {value.shape}"
            wrong.append(Mismatch(name, value.shape, None, None, None, math.inf, problem, ""))
            continue
        found = _check(VariableCheck(Variable(name, value, gradient), probe, settings), rng, noticed, sampled, settings)
        (wrong if isinstance(found, Mismatch) else reports).append(found)  # type: ignore[arg-type]
    if wrong:
        raise GradientMismatch(tuple(wrong))
    return tuple(reports)


def groups_for(size: int, noticed: float, tolerance: float) -> int:
    """How many groups make an error of ``noticed`` typical elements certain to show."""
    return min(size, max(1, math.ceil(size * (tolerance / noticed) ** 2)))


def _check(
    check: VariableCheck, rng: np.random.Generator, noticed: float, sampled: int, settings: CheckSettings
) -> LargeReport | Mismatch:
    name, value, _ = check.variable
    groups = groups_for(value.size, noticed, settings.tolerance)
    signs = rng.integers(0, 2, value.size, dtype=np.int8) * 2 - 1
    label = rng.integers(0, groups, value.size) if groups > 1 else np.zeros(value.size, np.int8)
    worst = 0.0
    for group in range(groups):
        mask = label == group
        judgement = check.along(_direction(value, signs * mask))
        worst = max(worst, judgement.error)
        if judgement.error > settings.tolerance:
            return _found(check, signs, mask, settings)
    chosen = rng.choice(value.size, min(sampled, value.size), replace=False)
    for i in chosen:
        if check.element(int(i)).error > settings.tolerance:
            return _named(check, int(i))
    smallest = settings.tolerance * math.sqrt(value.size / groups)
    return LargeReport(name, value.shape, worst, smallest, len(chosen))


def _direction(value: Array, signs: Array) -> Array:
    return array_module(value).asarray(signs.reshape(value.shape).astype(np.float64))  # type: ignore[no-any-return]


def _found(check: VariableCheck, signs: Array, mask: Array, settings: CheckSettings) -> Mismatch:
    """Search for a wrong element: of two halves, go where the gap is larger."""
    value, members = check.variable.value, np.flatnonzero(mask)
    for _ in range(DEPTH):
        if len(members) == 1:
            break
        halves = members[: len(members) // 2], members[len(members) // 2 :]
        gaps = []
        for half in halves:
            part = np.zeros(value.size, np.int8)
            part[half] = signs[half]
            judgement = check.along(_direction(value, part))
            gaps.append(abs(judgement.analytic - judgement.numeric))
        members = halves[0] if not gaps[1] > gaps[0] else halves[1]
    return _named(check, int(members[0]))


def _named(check: VariableCheck, flat: int) -> Mismatch:
    name, value, _ = check.variable
    judgement = check.element(flat)
    index = tuple(int(i) for i in np.unravel_index(flat, value.shape))
    summary = (
        f"{name} {value.shape}: element {list(index)} is wrong: analytic {judgement.analytic:.10g}, numeric "
        f"{judgement.numeric:.10g}, relative error {judgement.error:.1e}"
    )
    hint = "found by halving; check_gradients at a small size says what the mistake looks like"
    return Mismatch(name, value.shape, index, judgement.analytic, judgement.numeric, judgement.error, summary, hint)
