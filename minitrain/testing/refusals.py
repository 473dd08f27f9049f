"""Refusals of functions that cannot be checked, and advice on what to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import array_module, is_array, to_numpy
from .report import GradientCheckError


def is_floating(x: Any) -> bool:
    """Whether ``x`` is a real floating-point array or number."""
    return bool(np.dtype(getattr(x, "dtype", type(x))).kind == "f")


def refuse_inputs(names: Sequence[str], inputs: Sequence[Any]) -> None:
    """Refuse lists of numbers and complex inputs.

    Raises:
        GradientCheckError: if there is one.
    """
    for name, x in zip(names, inputs, strict=True):
        if isinstance(x, list) and np.asarray(x).dtype.kind == "f":
            raise GradientCheckError(f"{name} is a list of numbers: pass an array, np.array({name})")
        if np.dtype(getattr(x, "dtype", type(x))).kind == "c":
            raise GradientCheckError(
                f"{name} is complex: the checker moves real numbers; write the forward with the real and the "
                "imaginary part as two inputs"
            )


def refuse_outputs(outputs: Sequence[Any], names: Sequence[str], inputs: Sequence[Any], precision: str) -> None:
    """Refuse outputs that are not finite, or not in the precision of the check.

    Raises:
        GradientCheckError: if there is one, or no floating-point output at all.
    """
    floating = [out for out in outputs if is_floating(out)]
    if not floating:
        kinds = ", ".join(str(getattr(out, "dtype", type(out).__name__)) for out in outputs)
        raise GradientCheckError(f"the forward returns no floating-point output to differentiate, but {kinds}")
    for out in floating:
        if getattr(out, "dtype", np.float64) != precision:
            advice = (
                "finite differences need double precision throughout; if the code exists in float32 only, check it "
                "with settings=minitrain.testing.SINGLE"
            )
            raise GradientCheckError(
                f"the forward returns {getattr(out, 'dtype', 'a Python float')} for {precision} inputs"
                f"{'; ' + advice if precision == 'float64' else ''}"
            )
        if not bool(array_module(out).isfinite(out).all()):
            raise GradientCheckError(
                f"the forward returns NaN or infinity here: nothing can be differentiated{_where(names, inputs)}"
            )


def _where(names: Sequence[str], inputs: Sequence[Any]) -> str:
    """The first input that is not finite, as the end of a message."""
    for name, x in zip(names, inputs, strict=True):
        if is_array(x) and is_floating(x) and (bad := ~np.isfinite(to_numpy(x))).any():
            index = [int(axis[0]) for axis in bad.nonzero()]
            return f" ({name}{index} is {float(x[tuple(index)])})"
    return ""


def explain_failure(
    error: Exception, forward: Callable[..., Any], inputs: Sequence[Any], options: Mapping[str, Any]
) -> None:
    """Find out whether a forward failed because the checker works in float64.

    Args:
        error: what it raised.
        forward: the forward as the user gave it, with parameters of their own dtypes.
        inputs: its positional arguments as the user gave them.
        options: its keyword arguments.

    Raises:
        GradientCheckError: if it runs in float32.
    """
    if isinstance(error, GradientCheckError):
        return  # the checker's own words, whatever the dtype
    single = [x.astype(np.float32) if is_array(x) and is_floating(x) else x for x in inputs]
    try:
        forward(*single, **options)
    except Exception:
        return
    raise GradientCheckError(
        f"the forward runs with float32 arrays only ({type(error).__name__}: {error}), but the checker converts "
        "inputs and parameters to float64, which finite differences need: let it accept float64, too, or check it with "
        "settings=minitrain.testing.SINGLE"
    ) from error
