"""Checks every operation and layer that has a case. ``minitrain gradcheck`` prints the results as a table.

Hypothesis draws the calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from ..backend.arrays import is_array
from .cases import CASES, LAYERS, SMALL, Case, LayerCase
from .cases.layer import features
from .gradients import check_gradients
from .modules import check_module
from .pairs import argument_names
from .report import GradientMismatch, GradientReport
from .settings import CheckSettings


@dataclass
class Verdict:
    """The result for one operation or layer.

    Attributes:
        name: of the operation or layer.
        kind: ``"operation"`` or ``"layer"``.
        errors: worst relative error of each argument and parameter over all calls.
        calls: the number of calls checked.
        failure: the wrong call and its error, or an empty string.
    """

    name: str
    kind: str
    errors: dict[str, float] = field(default_factory=dict)
    calls: int = 0
    failure: str = ""

    @property
    def worst(self) -> float:
        """The worst relative error of all arguments, 0 if there were none."""
        return max(self.errors.values(), default=0.0)

    def check(self, call: str, checker: Callable[..., GradientReport], *arguments: Any, **options: Any) -> bool:
        """Check one more call. Returns whether it passes.

        Args:
            call: a description for the failure message.
            checker: runs the check on ``arguments`` and ``options``.
            arguments: positional arguments of ``checker``.
            options: keyword arguments of ``checker``.
        """
        self.calls += 1
        try:
            for argument in checker(*arguments, **options).arguments:
                self._note(argument.name, argument.error)
        except GradientMismatch as error:
            for mismatch in error.mismatches:
                self._note(mismatch.name, mismatch.error)
            self.failure = f"{call}: {error}"
        except Exception as error:  # the operation's own: to be shown, and the others are still to be checked
            self.failure = f"{call}: {type(error).__name__}: {error}"
        return not self.failure

    def _note(self, name: str, error: float) -> None:
        self.errors[name] = max(error, self.errors.get(name, 0.0))


@dataclass(frozen=True)
class Subject:
    """Something to check.

    Attributes:
        name: of the operation or layer.
        kind: ``"operation"`` or ``"layer"``.
        family: the file that its case stands in, such as ``"activations"``.
        origin: the case. Two subjects are equal if their cases are.
        check: runs the check for a number of calls and a seed, which determine the calls.
    """

    name: str
    kind: str
    family: str
    origin: Case | LayerCase
    check: Callable[[int, int], Verdict] = field(compare=False)


def subjects(cases: Mapping[str, Case] = CASES, layers: Mapping[str, LayerCase] = LAYERS) -> list[Subject]:
    """Everything that has a case: operations first, then layers."""
    operations = [
        Subject(case.name, "operation", case.family, case, functools.partial(check_operation, case))
        for case in cases.values()
    ]
    return operations + [
        Subject(name, "layer", layer.family, layer, functools.partial(check_layer, name, layer))
        for name, layer in layers.items()
    ]


def check_operation(case: Case, examples: int, seed: int) -> Verdict:
    """Check an operation on calls drawn by Hypothesis. The first wrong call ends the check.

    Args:
        case: how to call it.
        examples: the number of calls.
        seed: the same seed gives the same calls.
    """
    verdict = Verdict(case.name, "operation")
    quiet = hypothesis.settings(
        max_examples=examples,
        phases=[Phase.generate],  # a failing call is shown as it was drawn
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )

    @hypothesis.seed(seed)
    @quiet
    @hypothesis.given(st.data())
    def check(data: st.DataObject) -> None:
        call = data.draw(case.calls(SMALL))
        shown = describe_call(case.name, case.arguments, call.inputs, call.options)
        settings = CheckSettings(seed=seed + verdict.calls, no_gradient=case.no_gradient)
        # Hypothesis repeats a failing call: once is enough.
        if verdict.failure or not verdict.check(
            shown, check_gradients, case.pair, *call.inputs, settings=settings, **call.options
        ):
            raise AssertionError(verdict.failure)

    try:
        check()
    except Exception:
        if not verdict.failure:  # the case itself is wrong: nothing was called
            raise
    return verdict


def check_layer(name: str, layer: LayerCase, examples: int, seed: int) -> Verdict:
    """Check the inputs and parameters of a layer, with new weights for each call. The first wrong call ends the check.

    Args:
        name: of the layer.
        layer: how to build it, and its inputs.
        examples: the number of calls.
        seed: the same seed gives the same weights and inputs.
    """
    verdict = Verdict(name, "layer")
    for i in range(seed, seed + examples):
        module, inputs = layer.module(i), layer.arguments(i)
        names = argument_names(module.forward, len(inputs))  # type: ignore[attr-defined]
        shown = describe_call(type(module).__name__, names, inputs, layer.options)
        if not verdict.check(shown, check_module, module, *inputs, settings=CheckSettings(seed=i), **layer.options):
            if not verdict.errors and layer.inputs is features:
                verdict.failure += (
                    "\nthis is the default input, x (2, 4, 8): if the layer needs another, "
                    "draw it with inputs=, as in\n"
                    f"  layer_case({name!r}, ..., inputs=lambda rng: (rng.standard_normal((5, 3)),))"
                )
            break
    return verdict


def describe_call(function: str, names: Sequence[str], inputs: Iterable[Any], options: Mapping[str, Any]) -> str:
    """A call on one line: ``layer_norm(x (2, 3), weight (3,), bias None, eps=0.1)``."""

    def short(value: Any) -> str:
        if not is_array(value):
            return repr(value)
        return str(value.shape) if value.dtype.kind == "f" else f"{value.dtype} {value.shape}"

    positional = [f"{name} {short(x)}" for name, x in zip(names, inputs, strict=False)]
    return f"{function}({', '.join([*positional, *(f'{k}={short(v)}' for k, v in options.items())])})"
