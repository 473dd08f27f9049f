"""Calls of operations by their cases: outputs, gradients, and their comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings

import minitrain.kernels as kernels_package
from minitrain.backend import set_threads, to_numpy, use_kernels
from minitrain.backend import threads as threads_module
from minitrain.testing.cases import CASES, Call, Case

MODES = ("reference", "auto")


def has_kernels(case: Case) -> bool:
    """Whether kernels run in the mode ``auto``: the operation has its own, or calls one that has."""
    module = sys.modules[case.pair.forward.reference.__module__]  # type: ignore[attr-defined]
    called = {value.reference.__module__ for value in vars(module).values() if hasattr(value, "reference")}
    places = [name.split(".")[2:] for name in called]  # minitrain.ops.norms.layer_norm -> norms, layer_norm
    return any(Path(kernels_package.__path__[0], "cpu", *place).with_suffix(".py").exists() for place in places)


def with_each(name: str, values: Sequence[Any], without_kernels: Sequence[Any]) -> Any:
    """Every operation with each value of ``name``; one whose code is the same for all of them with some alone."""
    return pytest.mark.parametrize(
        ("case", name),
        [
            pytest.param(case, value, id=f"{case.name}-{value}")
            for case in CASES.values()
            for value in (values if case in WITH_KERNELS else without_kernels)
        ],
    )


WITH_KERNELS = [case for case in CASES.values() if has_kernels(case)]
every_op = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_op_with_kernels = pytest.mark.parametrize("case", WITH_KERNELS, ids=lambda case: case.name)
every_op_in_each_mode = with_each("mode", MODES, MODES[:1])


def few(examples: int) -> Any:
    """Fewer examples than Hypothesis's hundred: there are many operations; more in the ``explore`` profile."""
    return settings(max_examples=max(examples, settings.default.max_examples // 20))


class Result(NamedTuple):
    outputs: list[Any]
    gradients: list[Any]

    def arrays(self) -> list[Any]:
        return [*self.outputs, *(g for g in self.gradients if g is not None)]

    def copy(self) -> Result:
        return Result(*([None if x is None else np.array(to_numpy(x)) for x in part] for part in self))


@contextmanager
def kernels(mode: str, threads: int | None = None) -> Any:
    with ExitStack() as stack:
        stack.enter_context(use_kernels(mode))
        stack.enter_context(mock.patch.object(threads_module, "GRAIN", 1e-9))  # small work is split, too
        stack.callback(set_threads, None)
        set_threads(threads)
        yield


def cotangents(case: Case, outputs: list[Any], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(out.shape)).astype(out.dtype) for out in outputs]


def as_list(gradients: Any) -> list[Any]:
    return list(gradients) if isinstance(gradients, tuple) else [gradients]


def run(case: Case, call: Call, mode: str = "auto", threads: int | None = None) -> Result:
    """Forward, and backward with a random cotangent that is the same for every mode and dtype."""
    with kernels(mode, threads):
        result = case.pair.forward(*call.inputs, **call.options)
        outputs = case.outputs(result)
        gradients = as_list(case.pair.backward(*cotangents(case, outputs), result[-1]))
    return Result(outputs, gradients)


def assert_close(actual: Result, expected: Result, tolerance: float) -> None:
    """Equal up to ``tolerance``, on the scale of each array but at least of 1 (the inputs are about 1)."""
    for kind, left, right in zip(Result._fields, actual, expected, strict=True):
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert (a is None) == (b is None), (kind, i)
            if a is not None:
                assert a.shape == b.shape, (kind, i)
                gap, scale = abs(a - b).max(initial=0), max(1.0, abs(b).max(initial=0))
                assert gap <= tolerance * scale, f"{kind}[{i}]: differs by {gap:.2e} on a scale of {scale:.2e}"


def tolerance(dtype: Any) -> float:
    return 1e-12 if dtype == np.float64 else 1e-5
