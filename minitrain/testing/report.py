"""Results of a gradient check: a table if all gradients are right, the worst element of each wrong one if not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    """What it looks like, or an empty string."""

    def __str__(self) -> str:
        return self.summary + (f"\n    hint: {self.hint}" if self.hint else "")


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
