"""Checks all variables, and gathers what a report needs to say about the wrong ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy
from .diagnosis import Evidence, diagnose
from .differences import Probe, norm, step_lengths
from .report import ArgumentReport, GradientMismatch, GradientReport, Mismatch
from .settings import CheckSettings
from .variables import Variable, VariableCheck

CANCELLED = 1e-10  # of the outputs: a gradient below is rounding
SAMPLED = 100  # elements of a large array that are differentiated for the report, beside the worst


def compare(
    variables: Sequence[Variable],
    bad: Sequence[Mismatch],
    probe: Probe,
    known: Mapping[str, Array],
    settings: CheckSettings,
    gradients_of: Callable[[Sequence[Array]], Mapping[str, Array]],
    single: Sequence[str] = (),
) -> GradientReport:
    """Check every variable.

    Args:
        variables: what to check.
        bad: mismatches found already, of arguments without a gradient to compare.
        probe: differentiates numerically.
        known: arrays by name that a hint may mention: inputs, outputs, cotangents.
        settings: how closely to look.
        gradients_of: runs the backward on other gradients of the outputs.
        single: float32 arrays in the cache, by their paths.

    Returns:
        The worst relative error of each variable.

    Raises:
        GradientMismatch: if a gradient is wrong.
        GradientCheckError: if a derivative cannot be measured.
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    rng = np.random.default_rng(settings.seed)
    passed: list[ArgumentReport] = []
    failed: list[tuple[VariableCheck, Evidence]] = []
    for variable in variables:
        check = VariableCheck(variable, probe, settings)
        error = check.worst_error(rng)
        if error <= settings.tolerance and _is_single(variable, probe, settings):
            words = "every element of the gradient is a float32 number"
            bad = [*bad, _rounded(variable, error, words, "a float32 buffer, constant or accumulator")]
        elif error <= settings.tolerance and single and (off := check.resolved_error(rng)):
            words = f"the gradient is off by {off:.1e}, far more than the differences are"
            bad = [*bad, _rounded(variable, error, words, f"{', '.join(single)} has single precision")]
        elif error <= settings.tolerance:
            passed.append(
                ArgumentReport(variable.name, variable.value.shape, error, check.notes(), dict(check.measured))
            )
        else:
            tried = _tried(variable, probe, known, gradients_of)
            failed.append((check, _gather(check, error, rng, known, settings, tried)))
    if not failed and not bad:
        return GradientReport(tuple(passed))
    whole = {check.variable.name: evidence.numeric for check, evidence in failed if evidence.whole}
    mismatches = [_mismatch(check, evidence, whole, settings) for check, evidence in failed]
    raise GradientMismatch((*bad, *mismatches), tuple(passed))


def _is_single(variable: Variable, probe: Probe, settings: CheckSettings) -> bool:
    """Whether every number of a float64 gradient fits into float32, which never happens by chance.

    A gradient is linear in the gradients of the outputs, and those have all the digits of a random float64. Only what
    is left where a gradient cancels to zero has few: it is far below the outputs.
    """
    gradient = variable.gradient
    if settings.precision != "float64" or norm(gradient * step_lengths(variable.value)) <= CANCELLED * probe.scale:
        return False
    with np.errstate(all="ignore"):
        return bool((gradient.astype(np.float32) == gradient).all())


def _rounded(variable: Variable, error: float, words: str, cause: str) -> Mismatch:
    name, shape = variable.name, variable.value.shape
    summary = f"{name} {shape}: {words}; its relative error is {error:.1e}"
    hint = f"it was rounded to single precision on the way: {cause}"
    return Mismatch(name, shape, None, None, None, error, summary, hint)


def _gather(
    check: VariableCheck,
    error: float,
    rng: np.random.Generator,
    known: Mapping[str, Array],
    settings: CheckSettings,
    tried: tuple[Mapping[str, Array], Mapping[str, Array]],
) -> Evidence:
    """Differentiate the elements of a wrong gradient: all, or a bad one and a sample of a large array."""
    value = check.variable.value
    whole = value.size <= settings.explained
    if whole:
        indices = np.arange(value.size)
    else:
        sample = rng.choice(value.size, SAMPLED, replace=False)
        indices = np.append(sample, _search(check, rng))
    found = [check.element(int(i)) for i in indices]
    analytic, numeric, errors = np.array([judgement[:3] for judgement in found]).reshape(-1, 3).T
    host = {name: finite for name, x in known.items() if np.isfinite(finite := to_numpy(x)).all()}
    fitting = {name: np.broadcast_to(x, value.shape) for name, x in host.items() if _broadcasts(x.shape, value.shape)}
    if whole:
        analytic, numeric, errors = (x.reshape(value.shape) for x in (analytic, numeric, errors))
        width = value.shape[-1:]
        matrices = {name: x for name, x in host.items() if x.shape == 2 * width}
        return Evidence(analytic, numeric, errors, indices, value.shape, True, error, fitting, matrices, *tried)
    picked = {name: x.reshape(-1)[indices] for name, x in fitting.items()}
    parts = [{name: x.reshape(-1)[indices] for name, x in arrays.items()} for arrays in tried]
    return Evidence(analytic, numeric, errors, indices, value.shape, False, error, picked, {}, *parts)


def _tried(
    variable: Variable,
    probe: Probe,
    known: Mapping[str, Array],
    gradients_of: Callable[[Sequence[Array]], Mapping[str, Array]],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Gradients when that of the output is first multiplied by something, and shares of a gradient.

    Returns:
        The variable's gradients, by the name of the factor; and products of the gradient of the output with something
        known, in words, which a second use of the variable could add to its gradient.
    """
    if len(probe.cotangents) != 1:
        return {}, {}
    scaled: dict[str, Array] = {}
    shares: dict[str, Array] = {}
    dout, value = probe.cotangents[0], variable.value
    for name, x in known.items():
        if x is dout or x is value or not x.size or not array_module(x).isfinite(x).all():
            continue
        if _broadcasts(x.shape, dout.shape):
            if "output" not in name:
                scaled[name] = to_numpy(gradients_of([dout * x])[variable.name])
            if dout.shape == value.shape:
                shares[f"the gradient of the output times {name}"] = to_numpy(dout * x)
        for words, matrix in ((f"the transpose of {name}", x.T), (name, x)):
            fits = x.ndim == 2 and dout.ndim > 1 and dout.shape[-1] == len(matrix)
            if fits and (*dout.shape[:-1], matrix.shape[1]) == value.shape:
                shares[f"the matrix product of the gradient of the output and {words}"] = to_numpy(dout @ matrix)
    return scaled, shares


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def _search(check: VariableCheck, rng: np.random.Generator) -> int:
    """Index of a bad element of a large array, by halving: go where the gap along a direction is larger."""
    value = check.variable.value
    direction = np.sign(rng.standard_normal(value.size))
    low, high = 0, value.size
    while high - low > 1:
        middle = (low + high) // 2
        gaps = []
        for start, stop in ((low, middle), (middle, high)):
            half = np.zeros(value.size)
            half[start:stop] = direction[start:stop]
            found = check.along(array_module(value).asarray(half.reshape(value.shape)))
            gap = abs(found.analytic - found.numeric)
            gaps.append(0.0 if math.isnan(gap) else gap)  # what cannot be measured tells nothing
        low, high = (low, middle) if gaps[0] >= gaps[1] else (middle, high)
    return low


def _mismatch(
    check: VariableCheck, evidence: Evidence, numeric_gradients: Mapping[str, Array], settings: CheckSettings
) -> Mismatch:
    """Say what is wrong with one argument."""
    name, errors = check.variable.name, evidence.errors.reshape(-1)
    worst = int(np.argmax(errors))
    index = tuple(int(i) for i in np.unravel_index(int(evidence.indices[worst]), evidence.shape))
    judgement = check.element(int(evidence.indices[worst]))
    wrong = int((errors > settings.tolerance).sum())
    error = float(errors[worst]) if wrong else evidence.error
    step = f" (step {judgement.slope.step:.0e})" if judgement.slope else ""
    summary = (
        f"{name} {evidence.shape}: the worst element is {list(index)}: analytic {judgement.analytic:.10g}, "
        f"numeric {judgement.numeric:.10g}{step}, relative error {error:.1e} (tolerance {settings.tolerance:.0e}); "
        f"{wrong} of {errors.size} elements{'' if evidence.whole else ' tried'} are wrong"
    )
    others = {other: numeric for other, numeric in numeric_gradients.items() if other != name}
    with np.errstate(all="ignore"):  # a square of 1e200
        hint = check.hint(index, wrong) or diagnose(evidence, others, settings.tolerance)
    return Mismatch(
        name, evidence.shape, index, judgement.analytic, judgement.numeric, error, summary, hint, dict(check.measured)
    )
