"""The functions that the fixture gives to a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..testing import CheckSettings, GradientMismatch, GradientReport, check_gradients, check_half_gradients
from ..testing.calls import check_drawn, script_for

KEPT = 6  # checks of one test that are kept for the report: the first ones, and always the last
DETAILED = 1024  # elements of an array that are checked one by one for the heat maps


class Checks:
    """Checks gradients within a test, with the settings of its marker.

    Args:
        detailed: whether to check elements one by one for the heat maps of the report.
        folder: where large inputs of a failing check go.
    """

    def __init__(self, *, detailed: bool = False, folder: Path | None = None) -> None:
        self._detailed, self._folder = detailed, folder
        self._settings = CheckSettings()
        self.script = ""
        """Repeats the last check that failed in the running test."""
        self.records: list[dict[str, Any]] = []
        """The checks of the running test, as JSON can hold them."""

    def begin(self, test: str, settings: Mapping[str, Any]) -> None:
        """A test begins.

        Args:
            test: its name.
            settings: those of its marker.

        Raises:
            ConfigError: if the marker has an unknown one.
        """
        self.script, self.records = "", []
        names = [field.name for field in dataclasses.fields(CheckSettings)]
        if unknown := [name for name in settings if name not in names]:
            raise ConfigError(f"{test}: the marker gradcheck has no {unknown[0]}; it has {', '.join(names)}")
        self._settings = CheckSettings(**settings)

    def __call__(
        self, subject: Any, *inputs: Any, settings: CheckSettings | None = None, **options: Any
    ) -> GradientReport:
        """Check one call.

        Args:
            subject: what ``minitrain.testing.check_gradients`` takes: ``(forward, backward)``, a layer, a PyTorch
                ``autograd.Function`` or module, a JAX ``custom_vjp``.
            inputs: the arguments of its forward.
            settings: how closely to check, instead of the marker's.
            options: keyword arguments of its forward.

        Returns:
            The worst relative error of each argument.

        Raises:
            GradientMismatch: if a gradient is wrong. The test's output has a script that repeats the check.
            GradientCheckError: if it cannot be checked.
        """
        __tracebackhide__ = True  # of pytest: the message says it all
        return self._checked(check_gradients, subject, *inputs, settings=settings or self._settings, **options)

    def drawn(
        self, subject: Any, inputs: Any, *, examples: int = 50, settings: CheckSettings | None = None, **options: Any
    ) -> GradientReport:
        """Check many shapes: see ``minitrain.testing.calls.check_drawn``. A wrong one shrinks to the smallest."""
        __tracebackhide__ = True  # of pytest: the message says it all
        return check_drawn(
            subject,
            inputs,
            examples=examples,
            settings=settings or self._settings,
            check=self.__call__,
            **options,
        )

    def half(self, subject: Any, *inputs: Any, settings: CheckSettings | None = None, **options: Any) -> Any:
        """Check 16-bit code: see ``minitrain.testing.check_half_gradients``."""
        return check_half_gradients(subject, *inputs, settings=settings or self._settings, **options)

    def _checked(
        self, check: Callable[..., GradientReport], subject: Any, *inputs: Any, settings: CheckSettings, **options: Any
    ) -> GradientReport:
        __tracebackhide__ = True
        closer = settings
        if self._detailed:
            closer = dataclasses.replace(settings, elementwise=max(settings.elementwise, DETAILED))
        try:
            report = check(subject, *inputs, settings=closer, **options)
        except Exception as error:
            self.script = script_for(subject, inputs, options, settings=settings, folder=self._folder)
            if isinstance(error, GradientMismatch):
                self._keep(subject, settings, [*map(_described, error.mismatches), *map(_described, error.passed)])
            raise
        self._keep(subject, settings, [_described(argument) for argument in report.arguments])
        return report

    def _keep(self, subject: Any, settings: CheckSettings, arguments: list[dict[str, Any]]) -> None:
        if len(self.records) == KEPT:
            self.records.pop()
        self.records.append({"subject": _name(subject), "tolerance": settings.tolerance, "arguments": arguments})


def _name(subject: Any) -> str:
    if isinstance(subject, tuple):
        return ", ".join(map(_name, subject))
    return getattr(subject, "__qualname__", type(subject).__qualname__).replace("<locals>.", "")


def _described(argument: Any) -> dict[str, Any]:
    """An argument of a report, or a mismatch, as JSON can hold it."""
    shape = [int(n) for n in argument.shape]
    size = int(np.prod(shape))
    errors: list[float | None] = []
    if argument.measured and size <= DETAILED:
        errors = [float(argument.measured[i]) if i in argument.measured else None for i in range(size)]
    return {
        "name": argument.name,
        "shape": shape,
        "error": float(argument.error),
        "summary": getattr(argument, "summary", ""),
        "hint": getattr(argument, "hint", ""),
        "notes": list(getattr(argument, "notes", ()))[:5],
        "errors": errors,
    }
