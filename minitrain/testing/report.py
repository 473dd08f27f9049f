"""Results of a gradient check: a table if all gradients are right, the worst element of each wrong one if not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..display.markup import GREEN, RED, Html, block, code, element, joined, shown, table
from ..errors import MinitrainError

NOTED = 5  # elements without a derivative that a printed report lists for each argument


class ArgumentReport(NamedTuple):
    """One argument or parameter that was checked."""

    name: str
    shape: tuple[int, ...]
    error: float
    """Worst relative error over all directions and elements tried."""
    notes: tuple[str, ...] = ()
    """A line for each element without a derivative, such as a kink: how far it could be checked."""
    measured: Mapping[int, float] = {}
    """Relative errors of the elements that were differentiated one by one, by their index in C order."""


class GradientReport(NamedTuple):
    """A passed check."""

    arguments: tuple[ArgumentReport, ...]

    @classmethod
    def merged(cls, reports: Sequence[GradientReport]) -> GradientReport:
        """One report of several about the same arguments: the worst error and all notes of each."""
        columns = zip(*(report.arguments for report in reports), strict=True)
        return cls(
            tuple(
                parts[0]._replace(
                    error=max(part.error for part in parts),
                    notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
                    measured=_worst_of([part.measured for part in parts]),
                )
                for parts in columns
            )
        )

    @property
    def worst(self) -> float:
        """The worst relative error of all arguments, 0 if there were none."""
        return max((argument.error for argument in self.arguments), default=0.0)

    def __str__(self) -> str:
        names = [argument.name for argument in self.arguments]
        shapes = [str(argument.shape) for argument in self.arguments]
        wide, broad = max(map(len, names), default=0), max(map(len, shapes), default=0)
        lines = []
        for name, shape, argument in zip(names, shapes, self.arguments, strict=True):
            lines.append(f"{name:{wide}}  {shape:{broad}}  worst relative error {argument.error:.1e}")
            lines += [f"    {note}" for note in argument.notes[:NOTED]]
            if more := argument.notes[NOTED:]:
                lines.append(f"    and {len(more)} more elements without a derivative")
        return "\n".join(lines)

    @shown
    def _repr_html_(self) -> str:
        return block(table_of_arguments((), self.arguments))


@dataclass(frozen=True)
class Mismatch:
    """One argument whose gradient is wrong."""

    name: str
    shape: tuple[int, ...]
    index: tuple[int, ...] | None
    """The worst element, ``None`` if there is no gradient of the right shape to look at."""
    analytic: float | None
    numeric: float | None
    error: float
    """Relative error of that element, infinite without one."""
    summary: str
    """One line: what is wrong, how much, and where."""
    hint: str
    """The likely mistake, or an empty string."""
    measured: Mapping[int, float] = field(default_factory=dict)
    """As in ``ArgumentReport``."""

    def __str__(self) -> str:
        return self.summary + (f"\n    hint: {self.hint}" if self.hint else "")


def _worst_of(parts: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The largest error of each element."""
    worst: dict[int, float] = {}
    for part in parts:
        for index, error in part.items():
            worst[index] = max(error, worst.get(index, 0.0))
    return worst


class GradientCheckError(MinitrainError, ValueError):
    """The gradients cannot be checked. The message says why, and what to change."""


class GradientMismatch(MinitrainError, AssertionError):
    """A backward that disagrees with finite differences of its forward.

    Attributes:
        mismatches: every bad argument, in argument order.
        passed: the arguments that were right.
    """

    def __init__(self, mismatches: tuple[Mismatch, ...], passed: tuple[ArgumentReport, ...] = ()) -> None:
        self.mismatches, self.passed = mismatches, passed
        lines = [f"the gradient of {len(mismatches)} of {len(mismatches) + len(passed)} arguments is wrong"]
        lines += [f"  {mismatch}" for mismatch in mismatches]
        if passed:
            lines.append(f"  right: {', '.join(report.name for report in passed)}")
        super().__init__("\n".join(lines))

    @property
    def worst(self) -> Mismatch:
        """The bad argument with the largest relative error."""
        return max(self.mismatches, key=lambda mismatch: mismatch.error)

    @shown
    def _repr_html_(self) -> str:
        return block(table_of_arguments(self.mismatches, self.passed))


def table_of_arguments(mismatches: Sequence[Mismatch], passed: Sequence[ArgumentReport]) -> Html:
    """The verdict on each argument: wrong ones first, with their worst element and the likely cause.

    Args:
        mismatches: arguments whose gradient is wrong.
        passed: those whose gradient is right.
    """
    right, wrong = element("b", "✓ right", style=f"color:{GREEN}"), element("b", "✗ wrong", style=f"color:{RED}")
    head = ["gradient of", "shape", "", "relative error"]
    rows: list[list[str]] = []
    for bad in mismatches:
        at = ["–", "–", "–"]
        if bad.index is not None:
            at = [str(list(bad.index)), *("–" if x is None else f"{x:.6g}" for x in (bad.analytic, bad.numeric))]
        found = bad.hint if bad.hint and bad.index is not None else f"{bad.summary}; {bad.hint}".rstrip("; ")
        rows.append([code(bad.name), str(bad.shape), wrong, f"{bad.error:.1e}", *at, found])
    for good in passed:
        rows.append([code(good.name), str(good.shape), right, f"{good.error:.1e}"])
        if mismatches or any(report.notes for report in passed):
            rows[-1] += [*["", "", ""] * bool(mismatches), joined(element("div", note) for note in good.notes[:NOTED])]
    if rows and len(rows[0]) == len(head) + 4:
        head += ["worst element", "analytic", "numeric", "likely cause"]
    elif rows and len(rows[0]) > len(head):
        head.append("elements without a derivative")
    return table(head, rows, right=(3, 5, 6) if mismatches else (3,))
