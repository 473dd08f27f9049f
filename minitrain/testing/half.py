"""Check the gradients of code with operands of 16 or 8 bits, where finite differences fail.

A short step is lost in the rounding of an operand, and a long one measures a slope elsewhere. So three runs are
compared, with the same inputs and the same random gradients of the outputs:

1. In float64, where `check_gradients` proves the backward by finite differences.
2. In 16 bits, as a training computes it: the run to be checked.
3. In 16 bits many times, each operand rounded up or down at random, so that it is right on average.

The spread of the third kind shows how far rounding alone moves each result. The second run must be as close to the
first, as a whole and in each element. Its projection on the exact result must also have the right length: that averages
the rounding of all elements, and finds a factor that is off by a percent, or by less in a large array. A mistake that
all 16-bit runs share shows too, because it adds nothing to their spread.

Random rounding as a measure of rounding errors: Vignes, A stochastic arithmetic for reliable scientific computation,
1993; Parker, Monte Carlo Arithmetic, 1997.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module, is_array, to_numpy
from ..backend.cuda.float8 import E4M3, E5M2
from ..backend.kernels_mode import use_kernels
from ..backend.precision import before_rounding, check_precision, use_precision
from .gradients import check_gradients, functions_of
from .pairs import argument_names, cotangent_count
from .refusals import is_floating
from .report import GradientCheckError, GradientMismatch, Mismatch
from .settings import DEFAULT, CheckSettings

FLOOR = 2e-5  # of a result's size: the rounding of float32 sums, which the random runs have in common
LEAST = 1e-2  # of the largest array: a gradient that is zero in float64 is rounding itself in float32
CURVATURE = 8.0  # times a squared unit: a function bent between two roundings is off on average, too
WHOLE, ELEMENT, LENGTH = 2.5, 9.0, 7.0  # standard deviations of random rounding that pass
DIGITS = {"bfloat16": 8, "float16": 11, "float8": 4}  # significant bits of the operands of a forward
ROUNDINGS = {
    "bfloat16": (8, -100),
    "float16": (11, -100),
    "float8_e4m3fn": (4, 1 - E4M3.bias),
    "float8_e5m2": (3, 1 - E5M2.bias),
}
"""For each dtype that operands are rounded to: its significant bits, and the least exponent that has them. Smaller
numbers have equal distances."""


class HalfResult(NamedTuple):
    """One output or gradient that was checked."""

    name: str
    shape: tuple[int, ...]
    error: float
    """Relative error of the 16-bit run, as a whole."""
    deviations: float
    """That error in standard deviations of random rounding."""


class HalfReport(NamedTuple):
    """A passed check."""

    results: tuple[HalfResult, ...]

    def __str__(self) -> str:
        wide = max((len(result.name) for result in self.results), default=0)
        broad = max((len(str(result.shape)) for result in self.results), default=0)
        return "\n".join(
            f"{name:{wide}}  {shape!s:{broad}}  relative error {error:.1e}, {deviations:.1f} of what rounding explains"
            for name, shape, error, deviations in self.results
        )


def check_half_gradients(
    pair_or_layer: Any,
    *inputs: Any,
    precision: str = "bfloat16",
    samples: int = 24,
    settings: CheckSettings = DEFAULT,
    **options: Any,
) -> HalfReport:
    """Check a forward and its backward in 16 bits; see the text of this module for the method.

    Args:
        pair_or_layer: as for `check_gradients`. It rounds its operands as the policy says: by the operations of
            ``minitrain.ops``, or by ``minitrain.backend.precision.operand``.
        inputs: the arguments of the forward. The float64 run gets them in float64, the others in float32.
        precision: ``"bfloat16"``, ``"float16"``, or ``"float8"`` for operations that follow it.
        samples: the number of runs with random rounding.
        settings: for the check in float64; its seed also draws the gradients of the outputs.
        options: keyword arguments of the forward.

    Returns:
        The error of each output and gradient. Printed, it is a table.

    Raises:
        GradientMismatch: if the float64 gradient is wrong, or the 16-bit run is off by more than rounding explains.
        GradientCheckError: if it cannot be checked, see `check_gradients`.
    """
    if check_precision(precision) not in DIGITS:
        raise GradientCheckError(f"check_half_gradients is for {', '.join(DIGITS)}; use check_gradients for others")
    inputs = tuple(x.astype(np.float32) if is_array(x) and is_floating(x) else x for x in inputs)
    check_gradients(pair_or_layer, *inputs, settings=settings, **options)

    def run(dtype: Any) -> dict[str, Array]:
        return _run(pair_or_layer, inputs, options, dtype, settings)

    with use_precision("float64"):
        exact = run(np.float64)
    with use_precision(precision):
        half = run(np.float32)
        rng = np.random.default_rng([settings.seed, 2])
        with use_kernels("reference"), before_rounding(lambda x, dtype: _dithered(x, dtype, rng)):
            random = [run(np.float32) for _ in range(samples)]
    unit = 2.0 ** -DIGITS[precision]
    numbers = [*exact.values(), *(to_numpy(x) for x in inputs if is_array(x) and is_floating(x))]
    least = LEAST * max(1.0, *(float(np.linalg.norm(x)) for x in numbers))  # gradients of outputs are about 1
    compared = [
        _compare(name, right, half[name], np.stack([run[name] for run in random]), unit, least)
        for name, right in exact.items()
    ]
    if mismatches := tuple(found for found in compared if isinstance(found, Mismatch)):
        raise GradientMismatch(mismatches)
    return HalfReport(tuple(found for found in compared if isinstance(found, HalfResult)))


def _dithered(x: Array, dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """``x`` moved by up to half a unit of its last place in ``dtype``: rounded to nearest, it goes up or down."""
    digits, least = ROUNDINGS[dtype.name]
    _, exponent = np.frexp(to_numpy(x))  # of a number from 0.5 to 1: one more than that of its first bit
    unit = np.ldexp(np.float32(1), np.maximum(exponent, least + 1) - digits)
    return x + array_module(x).asarray(unit * (rng.random(x.shape, np.float32) - np.float32(0.5)))  # type: ignore[no-any-return]


def _run(
    pair_or_layer: Any, inputs: tuple[Any, ...], options: Mapping[str, Any], dtype: Any, settings: CheckSettings
) -> dict[str, Array]:
    """Outputs and gradients of one run by name, as float64 arrays on the CPU."""
    layer = hasattr(pair_or_layer, "named_parameters")
    subject = copy.deepcopy(pair_or_layer) if layer else pair_or_layer
    if layer:
        for parameter in subject.parameters():
            xp, data = array_module(parameter.data), parameter.data
            parameter.rebind(xp.empty(data.shape, dtype), xp.empty(data.shape, dtype))
        subject.zero_grad()
    forward, backward = functions_of(subject)
    values = [x.astype(dtype) if is_array(x) and is_floating(x) else x for x in inputs]
    *outputs, cache = forward(*values, **options)
    if len(outputs) == 1 and isinstance(outputs[0], tuple):  # such as Loss(total, count)
        outputs = list(outputs[0])
    outputs = outputs[: cotangent_count(backward)]
    results = {f"output {i}" if len(outputs) > 1 else "the output": x for i, x in enumerate(outputs) if is_floating(x)}
    rng = np.random.default_rng([settings.seed, 1])
    douts = [
        array_module(x).asarray(rng.standard_normal(np.shape(x), np.float32).astype(dtype)) if is_floating(x) else None
        for x in outputs
    ]
    results = {name: _double(x) for name, x in results.items()}  # before the backward, which may reuse memory
    gradients = backward(*douts, cache)
    gradients = gradients if isinstance(gradients, tuple | list) else (gradients,)
    for name, gradient in zip(argument_names(forward, len(inputs)), gradients, strict=False):
        if gradient is not None:
            results[f"the gradient of {name}"] = _double(gradient)
    if layer:
        for path, parameter in subject.named_parameters():
            if parameter.trainable and not parameter.fresh:
                results[f"the gradient of {path}"] = _double(parameter.grad)
    return results


def _double(x: Any) -> Array:
    return np.array(to_numpy(x) if is_array(x) else x, np.float64)


def _compare(name: str, exact: Array, half: Array, random: Array, unit: float, least: float) -> HalfResult | Mismatch:
    """Whether a result of 16-bit code is as close to the exact one as random rounding comes.

    Args:
        name: what it is, for the report.
        exact: the result in float64, of any shape.
        half: the same in 16 bits.
        random: (samples, ...) the same with random rounding.
        unit: the largest relative error of one rounding, times 2.
        least: results smaller than this may be off by as much as if they had this size.
    """
    size = float(np.linalg.norm(exact))
    share = FLOOR + CURVATURE * unit**2  # of the size
    floor = share * max(size, least) + np.finfo(np.float32).tiny
    squares = random.var(axis=0, ddof=1)  # of each element
    spread = np.sqrt(squares.sum())
    gap = float(np.linalg.norm(half - exact))
    shape = exact.shape
    if not np.isfinite(half).all() or gap > WHOLE * spread + floor:
        index = tuple(int(i) for i in np.unravel_index(np.nanargmax(np.abs(half - exact)), shape)) if shape else ()
        return _mismatch(name, exact, half, index, f"{gap / max(spread, floor):.1f} times what rounding explains")
    elements = np.abs(half - exact) / (np.sqrt((squares + squares.mean()) / 2) + floor / max(1, exact.size) ** 0.5)
    if elements.size and elements.max() > ELEMENT:
        index = tuple(int(i) for i in np.unravel_index(elements.argmax(), shape))
        return _mismatch(name, exact, half, index, f"{elements.max():.1f} times what rounding explains there")
    lengths = [float((one * exact).sum()) / size**2 if size else 1.0 for one in (half, *random)]
    off, deviation = lengths[0] - 1, np.std(lengths[1:], ddof=1)
    if abs(off) > LENGTH * deviation + share:
        summary = f"{name} {shape} is {abs(off):.2%} too {'long' if off > 0 else 'short'}"
        hint = f"a factor: rounding moves its length by {deviation:.2%}"
        return Mismatch(name, shape, None, None, None, abs(float(off)), summary, hint)
    return HalfResult(name, shape, gap / size if size else 0.0, gap / max(spread, floor))


def _mismatch(name: str, exact: Array, half: Array, index: tuple[int, ...], how_much: str) -> Mismatch:
    right, wrong = float(exact[index]), float(half[index])
    error = abs(wrong - right) / max(abs(right), np.finfo(np.float64).tiny)
    summary = f"{name} {exact.shape} is off by {how_much}; at {list(index)} it is {wrong:.6g}, in float64 {right:.6g}"
    return Mismatch(name, exact.shape, index, wrong, right, error, summary, "")
