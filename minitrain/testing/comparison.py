"""Compares gradients with finite differences, and finds the worst element where they disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy
from .diagnosis import Evidence, diagnose
from .differences import Probe, step_lengths
from .report import ArgumentReport, GradientMismatch, GradientReport, Mismatch
from .settings import CheckSettings

SAMPLED = 100  # elements of a large array that are differentiated for the report, beside the worst


class Variable(NamedTuple):
    """An array to differentiate with respect to, and the gradient that is to be checked."""

    name: str
    value: Array  # float64; moved while probing, and put back
    gradient: Array


class Difference(NamedTuple):
    """One comparison, along a direction or of an element."""

    analytic: float
    numeric: float
    error: float


def compare(
    variables: Sequence[Variable],
    bad: Sequence[Mismatch],
    probe: Probe,
    known: Mapping[str, Array],
    settings: CheckSettings,
) -> GradientReport:
    """Check every variable.

    Args:
        variables: what to check.
        bad: mismatches found already, of arguments without a gradient to compare.
        probe: differentiates numerically.
        known: arrays by name that a hint may speak of: inputs, outputs, cotangents.
        settings: how closely to look.

    Returns:
        The worst relative error of each variable.

    Raises:
        GradientMismatch: if a gradient is wrong.
    """
    rng = np.random.default_rng(settings.seed)
    passed: list[ArgumentReport] = []
    failed: list[tuple[Variable, Evidence]] = []
    for variable in variables:
        error = _worst_error(variable, probe, rng, settings)
        if error <= settings.tolerance:  # False for NaN
            passed.append(ArgumentReport(variable.name, variable.value.shape, error))
        else:
            failed.append((variable, _gather(variable, error, probe, rng, known, settings)))
    if not failed and not bad:
        return GradientReport(tuple(passed))
    whole = {variable.name: evidence.numeric for variable, evidence in failed if evidence.whole}
    mismatches = [
        _mismatch(variable.name, evidence, {name: n for name, n in whole.items() if name != variable.name}, settings)
        for variable, evidence in failed
    ]
    raise GradientMismatch((*bad, *mismatches), tuple(passed))


def _worst_error(variable: Variable, probe: Probe, rng: np.random.Generator, settings: CheckSettings) -> float:
    """Worst relative error along random directions, and of few elements each; NaN if one is NaN."""
    value = variable.value
    errors = [0.0]
    for _ in range(settings.directions if value.size else 0):
        direction = array_module(value).asarray(rng.standard_normal(value.shape)) * step_lengths(value)
        errors.append(_along(variable, direction, probe, settings).error)
    if value.size <= settings.elementwise:
        errors += list(_errors(variable, range(value.size), probe, settings)[2])
    return float(np.max(errors))  # unlike max(), NumPy's hands a NaN on


def _along(variable: Variable, direction: Array, probe: Probe, settings: CheckSettings) -> Difference:
    """Compare along a direction, on the scale such a sum usually has: this one may cancel by chance."""
    terms = variable.gradient * direction
    analytic, numeric = float(terms.sum()), probe.along(variable.value, direction)
    scale = max(abs(numeric), math.sqrt(float((terms * terms).sum())))
    return Difference(analytic, numeric, float(_relative(analytic, numeric, scale, probe, settings)))


def _errors(
    variable: Variable, indices: Sequence[int], probe: Probe, settings: CheckSettings
) -> tuple[Array, Array, Array]:
    """Analytic and numeric derivatives and relative errors of some elements, by index in C order.

    A small element is judged on the scale of the others: what blurs their numeric derivatives blurs its own.
    """
    numeric = probe.elements(variable.value, indices)
    analytic = to_numpy(variable.gradient).reshape(-1)[list(indices)]
    typical = math.sqrt(float(np.mean(numeric**2))) if numeric.size else 0.0
    scale = np.maximum(np.maximum(abs(analytic), abs(numeric)), typical)
    return analytic, numeric, np.asarray(_relative(analytic, numeric, scale, probe, settings))


def _relative(analytic: Any, numeric: Any, scale: Any, probe: Probe, settings: CheckSettings) -> Any:
    gap = abs(analytic - numeric)
    # Where gradients are near zero, a gap as large as the noise is just within the tolerance.
    floor = probe.noise / settings.tolerance
    return np.where(gap == 0, 0.0, gap / np.maximum(scale + floor, np.finfo(np.float64).tiny))


def _gather(
    variable: Variable,
    error: float,
    probe: Probe,
    rng: np.random.Generator,
    known: Mapping[str, Array],
    settings: CheckSettings,
) -> Evidence:
    """Differentiate the elements of a wrong gradient: all, or a bad one and a sample of a large array."""
    value = variable.value
    whole = value.size <= settings.explained
    if whole:
        indices = np.arange(value.size)
    else:
        sample = rng.choice(value.size, SAMPLED, replace=False)
        indices = np.append(sample, _search(variable, probe, rng, settings))
    analytic, numeric, errors = _errors(variable, [int(i) for i in indices], probe, settings)
    host = {name: to_numpy(x) for name, x in known.items()}
    fitting = {name: np.broadcast_to(x, value.shape) for name, x in host.items() if _broadcasts(x.shape, value.shape)}
    if whole:
        analytic, numeric, errors = (x.reshape(value.shape) for x in (analytic, numeric, errors))
        width = value.shape[-1:]
        matrices = {name: x for name, x in host.items() if x.shape == 2 * width}
        return Evidence(analytic, numeric, errors, indices, value.shape, True, error, fitting, matrices)
    picked = {name: x.reshape(-1)[indices] for name, x in fitting.items()}
    return Evidence(analytic, numeric, errors, indices, value.shape, False, error, picked, {})


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def _search(variable: Variable, probe: Probe, rng: np.random.Generator, settings: CheckSettings) -> int:
    """Index of a bad element of a large array, by halving: go where the gap along a direction is larger."""
    size = variable.value.size
    direction = np.sign(rng.standard_normal(size))
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        gaps = []
        for start, stop in ((low, middle), (middle, high)):
            half = np.zeros(size)
            half[start:stop] = direction[start:stop]
            xp = array_module(variable.value)
            along = _along(variable, xp.asarray(half.reshape(variable.value.shape)), probe, settings)
            gaps.append(abs(along.analytic - along.numeric))
        low, high = (low, middle) if not gaps[1] > gaps[0] else (middle, high)
    return low


def _mismatch(name: str, evidence: Evidence, others: Mapping[str, Array], settings: CheckSettings) -> Mismatch:
    """Say what is wrong with one argument."""
    errors = evidence.errors.reshape(-1)
    worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
    index = tuple(int(i) for i in np.unravel_index(int(evidence.indices[worst]), evidence.shape))
    analytic, numeric = (
        float(evidence.analytic.reshape(-1)[worst]),
        float(evidence.numeric.reshape(-1)[worst]),
    )
    wrong = int((~(errors <= settings.tolerance)).sum())
    error = float(errors[worst]) if wrong else evidence.error
    summary = (
        f"{name} {evidence.shape}: the worst element is {list(index)}: analytic {analytic:.10g}, "
        f"numeric {numeric:.10g}, relative error {error:.1e} (tolerance {settings.tolerance:.0e}); "
        f"{wrong} of {errors.size} elements{'' if evidence.whole else ' tried'} are wrong"
    )
    hint = diagnose(evidence, others, settings.tolerance)
    return Mismatch(name, evidence.shape, index, analytic, numeric, error, summary, hint)
