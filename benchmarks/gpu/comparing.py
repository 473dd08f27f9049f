"""An operation on the card beside the readable code in float64 on the host."""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minitrain.backend import is_array, to_device, to_numpy, use_kernels
from minitrain.backend.arrays import is_cupy


@contextlib.contextmanager
def scipy_or_stand_in() -> Iterator[None]:
    """Where SciPy is not installed, the readable GELU finds the one function that it wants of it here, however slow."""
    try:
        importlib.import_module("scipy.special")
    except ImportError:
        each = np.vectorize(math.erfc, otypes=[np.float64])
        special = ModuleType("scipy.special", "Stands in for SciPy, which is not installed.")
        special.erfc = lambda x: each(x).astype(x.dtype)  # type: ignore[attr-defined]
        sys.modules.update({"scipy": ModuleType("scipy"), "scipy.special": special})
        try:
            yield
        finally:
            del sys.modules["scipy"], sys.modules["scipy.special"]
    else:
        yield


def leaves(tree: Any) -> Iterator[Any]:
    """The arrays in nested tuples and lists, on the host; ``None`` is left out, a number is an array ()."""
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from leaves(part)
    elif is_array(tree) or isinstance(tree, float | np.generic):
        yield to_numpy(tree) if is_cupy(tree) else np.asarray(tree)


def cotangents(outputs: Sequence[Any], seed: int = 0) -> list[Any]:
    """Random gradients of some outputs, on the host, of their shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(np.shape(out))).astype(getattr(out, "dtype", np.float64)) for out in outputs]


def run_case(case: Any, call: Any) -> list[Any]:
    """Outputs and gradients of a call on the host, by the readable code."""
    with use_kernels("reference"), scipy_or_stand_in():
        found = case.pair.forward(*call.inputs, **call.options)
        outputs = case.outputs(found)
        gradients = case.pair.backward(*cotangents(outputs), found[-1])
    return [*leaves(outputs), *leaves(gradients)]


def run_on_card(case: Any, call: Any) -> list[Any]:
    """The same on the card, with the kernels that take it."""
    there = call.to("cuda")
    found = case.pair.forward(*there.inputs, **there.options)
    outputs = case.outputs(found)
    given = [to_device(d, "cuda") if is_array(out) else d for d, out in zip(cotangents(outputs), outputs, strict=True)]
    gradients = case.pair.backward(*given, found[-1])
    return [*leaves(outputs), *leaves(gradients)]


def share_of_allowed(found: Sequence[Any], reference: Sequence[Any], exact: Sequence[Any]) -> float:
    """The largest gap from the exact numbers, as a share of what is allowed; above 1 is wrong.

    Allowed is four times the gap of the readable code in float32, or 3e-6 of the array's largest number: some 25 units
    in the last place, for sums of hundreds of terms in another order. A NaN where there should be none counts as
    infinitely wrong.

    Raises:
        ValueError: if the shapes or the numbers of arrays differ.
    """
    worst = 0.0
    for f, r, e in zip(found, reference, exact, strict=True):
        if f.shape != e.shape:
            raise ValueError(f"an output or gradient has shape {f.shape}, expected {e.shape}")
        if e.size == 0:
            continue
        with np.errstate(invalid="ignore"):
            gap, own = (np.where(x == e, 0, abs(x.astype(np.float64) - e)).max() for x in (f, r))  # inf == inf
        allowed = max(4 * own, 3e-6 * max(1.0, abs(e[np.isfinite(e)]).max(initial=0)))
        worst = max(worst, float(gap / allowed) if np.isfinite(gap) else float("inf"))
    return worst
