"""Check a forward/backward pair against finite differences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, array_module, is_array
from .comparison import compare
from .differences import Probe
from .report import GradientCheckError, GradientReport, Mismatch
from .settings import CheckSettings
from .variables import Variable

DEFAULT = CheckSettings()


def check_gradients(
    pair_or_layer: Any, *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any
) -> GradientReport:
    """Check that a backward is the derivative of its forward.

    Runs in float64 with a random cotangent (an all-ones one cannot see that a softmax backward is wrong), and
    compares each gradient with central differences along random directions, that of a small array also
    element by element. ``forward(*inputs, **options)`` returns ``(out, cache)``, or ``(out1, out2, ...,
    cache)`` with several outputs; ``backward(dout, cache)`` returns one gradient per input, ``None`` for an
    integer one.

    Args:
        pair_or_layer: ``(forward, backward)``, or anything with those two methods or attributes. If it has
            ``named_parameters``, they are checked too, as ``check_module`` does.
        inputs: the array arguments of the forward, of any floating dtype; they are copied to float64. ``None`` and
            integers pass as they are.
        settings: how closely to look, and which arguments have no gradient on purpose.
        options: keyword arguments of the forward.

    Returns:
        The worst relative error of each argument; printed, it is a table.

    Raises:
        GradientMismatch: if a gradient is wrong, naming each bad argument, its worst element and a guess.
        GradientCheckError: if nothing can be checked: the forward is random, not finite, or not in float64.

    Example:
        >>> import numpy as np
        >>> def square(x): return x * x, x
        >>> def square_backward(dout, x): return 2 * x * dout
        >>> check_gradients((square, square_backward), np.array([1.0, 2.0])).worst < 1e-8
        True
    """
    if hasattr(pair_or_layer, "named_parameters"):
        from .modules import check_module

        return check_module(pair_or_layer, *inputs, settings=settings, **options)
    forward, backward = functions_of(pair_or_layer)
    return check(forward, backward, inputs, options, {}, lambda: {}, settings)


def functions_of(pair_or_layer: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The two functions of a pair, or of anything with a ``forward`` and a ``backward``."""
    if hasattr(pair_or_layer, "forward") and hasattr(pair_or_layer, "backward"):
        return pair_or_layer.forward, pair_or_layer.backward
    if isinstance(pair_or_layer, tuple) and len(pair_or_layer) == 2 and all(map(callable, pair_or_layer)):
        return pair_or_layer
    raise GradientCheckError(
        f"check_gradients takes (forward, backward) or an object with both, not a {type(pair_or_layer).__name__}"
    )


def check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Any],
    options: Mapping[str, Any],
    parameters: Mapping[str, Array],
    parameter_gradients: Callable[[], Mapping[str, Array]],
    settings: CheckSettings,
) -> GradientReport:
    """Check the gradients of inputs and of parameters.

    Args:
        forward: returns outputs and a cache.
        backward: takes as many cotangents as it has parameters before ``cache``, and the cache.
        inputs: positional arguments of the forward.
        options: keyword arguments of the forward.
        parameters: float64 arrays by name that the forward reads, contiguous.
        parameter_gradients: gives their gradients, once the backward has run.
        settings: how closely to look.
    """
    names = argument_names(forward, len(inputs))
    _check_inputs(names, inputs)
    values = [_in_double(x) for x in inputs]
    kept = cotangent_count(backward)

    def outputs_and_cache() -> tuple[list[Any], Any]:
        result = forward(*values, **options)
        if not isinstance(result, tuple) or len(result) < 2:
            raise GradientCheckError(f"the forward returns a {type(result).__name__}: let it return (out, cache)")
        *outputs, cache = result
        if len(outputs) == 1 and isinstance(outputs[0], tuple):  # such as Loss(total, count)
            outputs = list(outputs[0])
        return outputs[:kept], cache

    def evaluate() -> list[Array]:  # copies: an output may be a view of an input that is about to move
        return [array_module(out).array(out) for out in outputs_and_cache()[0] if _floating(out)]

    outputs, cache = outputs_and_cache()
    _check_outputs(outputs)
    baseline = [array_module(out).array(out) for out in outputs if _floating(out)]
    rng = np.random.default_rng([settings.seed, 1])
    cotangents = [_random_like(out, rng) if _floating(out) else None for out in outputs]
    gradients = _as_sequence(backward(*cotangents, cache), len(inputs))
    for before, after in zip(baseline, evaluate(), strict=True):
        if not (before == after).all():
            raise GradientCheckError(
                "the forward gives another result when called again: "
                "fix its random key, or look for a write to its inputs"
            )

    variables, bad = _variables(names, values, gradients, settings)
    found = parameter_gradients()
    paths = list(parameters)
    more, worse = _variables(paths, list(parameters.values()), [found.get(path) for path in paths], settings)
    real = [c for c in cotangents if c is not None]
    probe = Probe(evaluate, baseline, real, settings.step)
    known = _known(names, values, baseline, real)
    known |= {f"the parameter {path}": value for path, value in parameters.items()}
    return compare(variables + more, bad + worse, probe, known, settings)


def argument_names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of the first ``count`` positional arguments."""
    names = []
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(count)]


def cotangent_count(backward: Callable[..., Any]) -> int | None:
    """How many cotangents come before ``cache``; ``None`` (one for each output) without such a name."""
    names = list(inspect.signature(backward).parameters)
    return names.index("cache") if "cache" in names else None


def _floating(x: Any) -> bool:
    return bool(np.dtype(getattr(x, "dtype", type(x))).kind == "f")


def _in_double(x: Any) -> Any:
    if not (is_array(x) and _floating(x)):
        return x
    return array_module(x).array(x, dtype=np.float64, order="C")


def _random_like(out: Any, rng: np.random.Generator) -> Array:
    return array_module(out).asarray(rng.standard_normal(np.shape(out)))  # type: ignore[no-any-return]


def _check_inputs(names: Sequence[str], inputs: Sequence[Any]) -> None:
    for name, x in zip(names, inputs, strict=True):
        if isinstance(x, list) and np.asarray(x).dtype.kind == "f":
            raise GradientCheckError(f"{name} is a list of numbers: pass an array, np.array({name})")


def _check_outputs(outputs: Sequence[Any]) -> None:
    floating = [out for out in outputs if _floating(out)]
    if not floating:
        raise GradientCheckError("the forward returns no floating-point output to differentiate")
    for out in floating:
        if getattr(out, "dtype", np.float64) != np.float64:
            raise GradientCheckError(
                f"the forward returns {out.dtype} for float64 inputs; "
                "finite differences need double precision throughout"
            )
        if not bool(array_module(out).isfinite(out).all()):
            raise GradientCheckError("the forward returns NaN or infinity here: nothing can be differentiated")


def _as_sequence(gradients: Any, count: int) -> list[Any]:
    """One gradient per input; trailing ``None`` for inputs that were not given are cut off."""
    found = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
    while len(found) > count and found[-1] is None:
        found.pop()
    if len(found) != count:
        raise GradientCheckError(
            f"the backward returns {len(found)} gradients for {count} inputs: give one for each, in order"
        )
    return found


def _variables(
    names: Sequence[str], values: Sequence[Any], gradients: Sequence[Any], settings: CheckSettings
) -> tuple[list[Variable], list[Mismatch]]:
    """What there is to compare, and the mismatches that show without any numbers."""
    variables: list[Variable] = []
    bad: list[Mismatch] = []
    for name, value, gradient in zip(names, values, gradients, strict=True):
        shape = tuple(np.shape(gradient))
        differentiable = is_array(value) and _floating(value) and name not in settings.no_gradient
        problem = hint = ""
        if not differentiable:
            if gradient is not None:
                problem = f"the backward returns a gradient for {name}, which has none: return None there"
        elif gradient is None:
            problem = f"the backward returns None for {name} {value.shape}"
            hint = "a missing term, the whole gradient; if on purpose, name it in CheckSettings(no_gradient=...)"
        elif shape != value.shape:
            problem = f"the gradient of {name} has shape {shape}, but {name} has shape {value.shape}"
            hint = _shape_hint(shape, value.shape)
        elif gradient.dtype != value.dtype:
            problem = f"the gradient of {name} is {gradient.dtype}, but {name} is {value.dtype}"
        else:
            variables.append(Variable(name, value, gradient))
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
    known = {f"the input {name}": x for name, x in arrays if is_array(x) and _floating(x)}
    many = len(outputs) > 1
    for i, (out, cotangent) in enumerate(zip(outputs, cotangents, strict=True)):
        known[f"output {i}" if many else "the output"] = out
        known[f"the gradient of output {i}" if many else "the gradient of the output"] = cotangent
    return known
