"""An exercise: a function that the reader writes, checked against finite differences or a reference."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..errors import ConfigError, MinitrainError
from ..testing.gradients import check_gradients
from ..testing.report import GradientMismatch, GradientReport
from ..testing.settings import CheckSettings
from .likeness import likeness, likeness_of_shape
from .verdict import Verdict

Judgement = tuple[bool, str, GradientReport | GradientMismatch | None]
"""Whether an answer is right, the findings in words, and those of the gradient checker."""
NOT_WRITTEN = "The function returns None: it is not written yet, or a return is missing."


@dataclass
class Exercise:
    """Checks a function that the reader of a notebook writes.

    With ``forward``, the answer is its backward: ``answer(dout, cache)`` returns a gradient for each input, and
    `minitrain.check_gradients` judges it. With ``reference``, the answer takes the inputs and returns what the
    reference returns.

    A mistake of the reader is never an exception: the verdict says what is wrong. Every further attempt that fails
    shows the next of the hints, and beside it the advice for that mistake, if there is any.

    Args:
        name: what the reader writes, such as ``"layer_norm_backward"``.
        forward: maps the inputs to ``(out, cache)``.
        reference: maps the inputs to an array, a number or a tuple of them.
        inputs: by name, the shape of an array of normal numbers, or the value itself.
        hints: general hints, from a nudge to nearly the solution.
        advice: words of a finding, and the hint for that mistake: ``{"transposed": "Which axis is which?"}``.
        tolerance: the largest relative error that passes.
        seed: seeds the arrays.

    Raises:
        ConfigError: unless there is one of ``forward`` and ``reference``.
    """

    name: str
    forward: Callable[..., tuple[Array, Any]] | None = None
    reference: Callable[..., Any] | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    hints: Sequence[str] = ()
    advice: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 1e-6
    seed: int = 0
    passed: bool = field(default=False, init=False)
    attempts: int = field(default=0, init=False)
    mistakes: list[str] = field(default_factory=list, init=False)
    """The findings that ``expect`` has seen."""

    def __post_init__(self) -> None:
        if (self.forward is None) == (self.reference is None):
            raise ConfigError(f"Exercise {self.name!r} needs either a forward or a reference")

    def check(self, answer: Callable[..., Any]) -> Verdict:
        """Judge an answer; counts as an attempt if it is not right."""
        passed, findings, gradients = self._judge(answer)
        self.passed = passed
        if passed:
            return Verdict(self.name, True, findings, gradients=gradients)
        self.attempts += 1
        return Verdict(self.name, False, findings, self._hint(), self._advice(findings) or "", gradients)

    def expect(self, wrong: Callable[..., Any], words: str) -> None:
        """Assert that a wrong answer gets the right hint; for the authors of exercises.

        Args:
            wrong: an answer with a typical mistake.
            words: what its findings or its advice must contain.

        Raises:
            AssertionError: if the answer passes, or the words are missing.
        """
        passed, findings, _ = self._judge(wrong)
        advice = self._advice(findings) or ""
        assert not passed, f"{self.name}: a wrong answer passes; it should be told {words!r}"
        assert words in findings + advice, f"{self.name}: {words!r} is not in:\n{findings}\n{advice}"
        self.mistakes.append(findings)

    def _judge(self, answer: Callable[..., Any]) -> Judgement:
        try:
            return self._judge_backward(answer) if self.forward is not None else self._judge_value(answer)
        except GradientMismatch as error:
            return False, str(error), error
        except MinitrainError as error:
            return False, str(error), None
        except Exception as error:  # whatever the reader's code raises
            return False, _where(error), None

    def _values(self) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        return {  # copies: an answer that writes to its inputs must not change the next check
            name: rng.standard_normal(given) if _is_shape(given) else _copy(given)
            for name, given in self.inputs.items()
        }

    def _judge_backward(self, answer: Callable[..., Any]) -> Judgement:
        assert self.forward is not None
        values = self._values()
        out, cache = self.forward(*values.values())
        if answer(np.ones_like(out), cache) is None:
            return False, NOT_WRITTEN, None
        settings = CheckSettings(seed=self.seed, tolerance=self.tolerance)
        report = check_gradients((self.forward, answer), *values.values(), settings=settings)
        return True, str(report), report

    def _judge_value(self, answer: Callable[..., Any]) -> Judgement:
        assert self.reference is not None
        expected, found = self.reference(*self._values().values()), answer(*self._values().values())
        if found is None:
            return False, NOT_WRITTEN, None
        wanted, got = _as_tuple(expected), _as_tuple(found)
        if len(wanted) != len(got):
            returned = "1 result" if len(got) == 1 else f"{len(got)} results"
            return False, f"It returns {returned}, and {len(wanted)} are asked for.", None
        known = {name: np.asarray(x) for name, x in self._values().items() if np.asarray(x).dtype.kind in "iuf"}
        lines = [_compare(i, found, wanted, known, self.tolerance) for i, found in enumerate(got)]
        wrong = [line for line in lines if line]
        return not wrong, "\n".join(wrong) or "The results agree with the reference.", None

    def _hint(self) -> str:
        number = min(self.attempts, len(self.hints))
        if len(self.hints) < 2:
            return "".join(self.hints)
        return f"{self.hints[number - 1]} ({number} of {len(self.hints)})"

    def _advice(self, findings: str) -> str | None:
        return next((text for words, text in self.advice.items() if words in findings), None)


def _copy(given: Any) -> Any:
    return copy.deepcopy(given) if isinstance(given, np.ndarray | list | dict) else given


def _is_shape(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(size, int) for size in given)


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _where(error: Exception) -> str:
    """The error in a line, with the line of the reader's code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    line = frames[-1].line if frames else ""
    return f"{type(error).__name__}: {error}" + (f"\nin the line: {line}" if line else "")


def _compare(
    place: int, found: Any, results: tuple[Any, ...], inputs: Mapping[str, Array], tolerance: float
) -> str:
    """A description of the fault of a result, or an empty string.

    Args:
        place: which result it is.
        found: the result.
        results: all right results.
        inputs: the inputs that are numbers, by name.
        tolerance: the largest error that passes, relative to the largest element.
    """
    try:
        a, b = np.asarray(found, np.float64), np.asarray(results[place], np.float64)
    except (TypeError, ValueError):
        return f"Result {place}: it is a {type(found).__name__}, not an array of numbers."
    if a.shape != b.shape:
        words = likeness_of_shape(a, b)
        return f"Result {place}: the shape is {a.shape}, and {b.shape} is asked for{'; ' * bool(words)}{words}."
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return f"Result {place}: it is not finite: a division by zero, log(0), or an overflow?"
    largest = np.abs(b).max(initial=0.0)
    error = np.abs(a - b)
    if (error <= tolerance * max(largest, 1.0)).all():
        return ""
    worst = np.unravel_index(error.argmax(), error.shape)
    others = {i: np.asarray(other) for i, other in enumerate(results) if i != place}
    words = likeness(a, b, inputs, others) if np.isfinite(b).all() else ""
    return (
        f"Result {place}: element {tuple(map(int, worst))} is {a[worst]:.6g}, and the reference has {b[worst]:.6g}"
        f"{'; ' * bool(words)}{words}."
    )
