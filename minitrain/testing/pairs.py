"""Runs a forward and its backward, and compares the gradients of inputs and parameters with finite differences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module, is_array
from .comparison import compare
from .differences import ROUNDING, Probe, largest
from .refusals import explain_failure, is_floating, refuse_inputs, refuse_outputs
from .report import GradientCheckError, GradientReport, Mismatch
from .settings import CheckSettings
from .variables import Variable
from .watch import Watch, single_arrays

BAND = 1e-6  # outputs smaller than this share of the largest would not show in a sum with it
BANDS = 4
REPEATED = 1e-9  # a second backward may differ by this share of the largest element: threads may add in another order


class Parameters(NamedTuple):
    """The arrays that a module's forward reads beside its inputs."""

    values: Mapping[str, Array] = {}
    """float64 arrays by name, in C order."""
    gradients: Callable[[], Mapping[str, Array]] = dict
    """Gives the gradients after a backward."""
    forget_gradients: Callable[[], None] = lambda: None
    """Makes the next backward start from zero."""
    forward: Callable[..., Any] | None = None
    """The forward of the module as it was given, with parameters of their own dtypes."""


def check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    parameters: Parameters,
    settings: CheckSettings,
    names: Sequence[str] | None = None,
) -> GradientReport:
    """Check the gradients of inputs and of parameters.

    Args:
        forward: returns outputs and a cache.
        backward: takes as many cotangents as it has parameters before ``cache``, and the cache.
        inputs: positional arguments of the forward.
        options: keyword arguments of the forward.
        parameters: what the forward reads beside its inputs.
        settings: how closely to look.
        names: of the inputs; by default those in the forward's signature.
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    names = argument_names(forward, len(inputs)) if names is None else names
    refuse_inputs(names, inputs)
    values = [_converted(x, settings.precision) for x in inputs]
    kept = cotangent_count(backward)
    named = {f"the parameter {path}": value for path, value in parameters.values.items()}
    untouched = Watch(dict(zip(names, values, strict=True)) | dict(options) | named)

    def outputs_and_cache() -> tuple[list[Any], Any]:
        result = forward(*values, **options)
        if not isinstance(result, tuple) or len(result) < 2:
            raise GradientCheckError(f"the forward returns a {type(result).__name__}: let it return (out, cache)")
        *outputs, cache = result
        if len(outputs) == 1 and isinstance(outputs[0], tuple):  # such as Loss(total, count)
            outputs = list(outputs[0])
        return outputs[:kept], cache

    def evaluate() -> list[Array]:  # copies: an output may be a view of an input that is about to move
        return [_double(out) for out in outputs_and_cache()[0] if is_floating(out)]

    def backpropagate(cotangents: Sequence[Array]) -> list[Any]:
        outputs, cache = outputs_and_cache()  # anew each time: a backward may use its cache up
        pending = iter(cotangents)
        douts = [
            array_module(out).array(next(pending), dtype=settings.precision) if is_floating(out) else None
            for out in outputs
        ]
        watches = [
            (Watch({"dout": douts[0] if len(douts) == 1 else douts}), "the gradients of the outputs"),
            (untouched, "the inputs of its forward"),
        ]
        if not parameters.values:  # a module's cache serves one backward, which may reuse its memory
            watches.append((Watch({"cache": cache}), "its cache"))
        parameters.forget_gradients()
        gradients = _as_sequence(backward(*douts, cache), values)
        for watch, what in watches:
            watch.check("the backward", what)
        return gradients

    try:
        outputs, cache = outputs_and_cache()
    except Exception as error:
        explain_failure(error, parameters.forward or forward, inputs, options)
        raise
    untouched.check("the forward", "its inputs")
    refuse_outputs(outputs, names, values, settings.precision)
    baseline = [_double(out) for out in outputs if is_floating(out)]
    for before, after in zip(baseline, evaluate(), strict=True):
        if not (before == after).all():
            raise GradientCheckError(
                "the forward gives another result when called again: fix its random key, or what else it remembers"
            )
    single = single_arrays("cache", cache) if settings.precision == "float64" else []
    reports = []
    for weights in bands(baseline):
        cotangents = random_cotangents(baseline, weights, settings)
        # Copies: the backward runs again, and may use the same memory.
        gradients = [_copy(g) for g in backpropagate(cotangents)]
        found = {path: _copy(g) for path, g in parameters.gradients().items()}
        again = dict(zip(names, backpropagate(cotangents), strict=True)) | dict(parameters.gradients())
        _refuse_memory(dict(zip(names, gradients, strict=True)) | found, again)
        variables, bad = _variables(names, values, gradients, settings)
        more, worse = _variables(
            list(parameters.values),
            list(parameters.values.values()),
            [found.get(p) for p in parameters.values],
            settings,
        )
        rounding = ROUNDING * float(np.finfo(settings.precision).eps / np.finfo(np.float64).eps)
        probe = Probe(evaluate, baseline, cotangents, settings.step, rounding)
        known = _known(names, values, baseline, cotangents) | named

        def gradients_of(changed: Sequence[Array]) -> dict[str, Any]:
            """The gradients for other gradients of the outputs."""
            found = dict(zip(names, backpropagate(changed), strict=True))
            return found | dict(parameters.gradients())

        reports.append(compare(variables + more, bad + worse, probe, known, settings, gradients_of, single))
    return GradientReport.merged(reports)


def argument_names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of the first ``count`` positional arguments."""
    names = []
    for parameter in _parameters_of(forward):
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(count)]


def cotangent_count(backward: Callable[..., Any]) -> int | None:
    """How many cotangents come before ``cache``; ``None`` (one for each output) without such a name."""
    names = [parameter.name for parameter in _parameters_of(backward)]
    return names.index("cache") if "cache" in names else None


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function; nothing for a compiled one that does not tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def random_cotangents(outputs: Sequence[Any], weights: Sequence[Array], settings: CheckSettings) -> list[Array]:
    """A standard normal number for each element of each output, times its weight, in the precision of the check."""
    rng = np.random.default_rng([settings.seed, 1])
    drawn = [array_module(out).asarray(rng.standard_normal(np.shape(out))) for out in outputs]
    rounded = [(x * weight).astype(settings.precision) for x, weight in zip(drawn, weights, strict=True)]
    return [_double(x) for x in rounded]


def bands(outputs: Sequence[Array]) -> Iterator[list[Array]]:
    """Weights of the outputs: first all 1, then ones that scale large elements down to the size of small ones.

    The gradient of an output of 1e-9 cannot be measured next to one of 1e9, whose rounding is larger. There is rarely
    more than one set of weights.
    """
    sizes = [abs(out) for out in outputs]
    largest = max((float(size.max()) for size in sizes if size.size), default=0.0)
    yield [array_module(size).ones(size.shape) for size in sizes]
    for band in range(1, BANDS):
        upper = largest * BAND**band
        if any(((size > 0) & (size <= upper)).any() for size in sizes):
            yield [upper / array_module(size).maximum(size, upper) for size in sizes]


def _converted(x: Any, precision: str) -> Any:
    if not (is_array(x) and is_floating(x)):
        return x
    return array_module(x).array(x, dtype=precision, order="C")


def _copy(gradient: Any) -> Any:
    return array_module(gradient).array(gradient) if is_array(gradient) else gradient


def _refuse_memory(first: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """Refuse a backward that gives another gradient at its second call.

    Raises:
        GradientCheckError: if there is one.
    """
    for name, gradient in first.items():
        second = again[name]
        if not is_array(gradient) or np.shape(second) != gradient.shape:
            continue
        with np.errstate(all="ignore"):
            gap = abs(_double(second) - _double(gradient))
            if bool((gap > REPEATED * largest(gradient)).any()):
                raise GradientCheckError(
                    f"the backward gives another gradient of {name} when called again, off by up to "
                    f"{float(gap.max()):.3g}: does it add to an array that it keeps between calls?"
                )


def _double(x: Any) -> Array:
    """A copy in float64."""
    return array_module(x).array(x, dtype=np.float64)  # type: ignore[no-any-return]


def _as_sequence(gradients: Any, inputs: Sequence[Any]) -> list[Any]:
    """One gradient per input.

    Trailing ``None`` for inputs that were not given are cut off. Those of trailing inputs that have none, such as the
    classes of a loss, may be left out.
    """
    found, count = list(gradients) if isinstance(gradients, tuple | list) else [gradients], len(inputs)
    while len(found) > count and found[-1] is None:
        found.pop()
    if not any(is_array(x) and is_floating(x) for x in inputs[len(found) :]):
        found += [None] * (count - len(found))
    if len(found) != count:
        raise GradientCheckError(
            f"the backward returns {len(found)} gradients for {count} inputs: give one for each, in order, and None "
            "for one that has none"
        )
    return found


def _variables(
    names: Sequence[str], values: Sequence[Any], gradients: Sequence[Any], settings: CheckSettings
) -> tuple[list[Variable], list[Mismatch]]:
    """The arrays to compare, and the mismatches that show without any numbers."""
    variables: list[Variable] = []
    bad: list[Mismatch] = []
    for name, value, gradient in zip(names, values, gradients, strict=True):
        shape = tuple(np.shape(gradient))
        differentiable = is_array(value) and is_floating(value) and name not in settings.no_gradient
        problem = hint = ""
        if not differentiable:
            if gradient is not None:
                problem = f"the backward returns a gradient for {name}, which has none: return None there"
                if isinstance(value, float):
                    problem = (
                        f"the backward returns a gradient for {name}, which is a Python float and is not moved: "
                        f"pass np.array({value!r}) to check it, or return None"
                    )
        elif gradient is None:
            problem = f"the backward returns None for {name} {value.shape}"
            hint = "a missing term, the whole gradient; if on purpose, name it in CheckSettings(no_gradient=...)"
        elif shape != value.shape:
            problem = f"the gradient of {name} has shape {shape}, but {name} has shape {value.shape}"
            hint = _shape_hint(shape, value.shape)
        elif gradient.dtype != value.dtype:
            problem = f"the gradient of {name} is {gradient.dtype}, but {name} is {value.dtype}"
        else:
            variables.append(Variable(name, value, _double(gradient)))
        if problem:
            bad.append(Mismatch(name, np.shape(value), None, None, None, float("inf"), problem, hint))
    return variables, bad


def _shape_hint(found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if sorted(found) == sorted(wanted):
        return "it looks transposed"
    if len(found) > len(wanted):
        return "it is not summed over the axes along which the argument was broadcast"
    return "it is summed over the wrong axes"


def _known(
    names: Sequence[str], values: Sequence[Any], outputs: Sequence[Array], cotangents: Sequence[Array]
) -> dict[str, Array]:
    """Arrays that a hint may name."""
    arrays = zip(names, values, strict=True)
    known = {f"the input {name}": x for name, x in arrays if is_array(x) and is_floating(x)}
    many = len(outputs) > 1
    for i, (out, cotangent) in enumerate(zip(outputs, cotangents, strict=True)):
        known[f"output {i}" if many else "the output"] = out
        known[f"the gradient of output {i}" if many else "the gradient of the output"] = cotangent
    return known
