"""The result of trying mutants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .equivalents import Equivalent
from .mistakes import KINDS
from .session import Outcome


class Mutated(Protocol):
    """A function that got mistakes, in whatever language."""

    @property
    def name(self) -> str:
        """Its name in the report."""

    @property
    def path(self) -> str:
        """Its file."""


class Planted(Protocol):
    """A mistake, as a report shows it; see `Mutant`."""

    @property
    def kind(self) -> str:
        """Of the mistake."""

    @property
    def line(self) -> int:
        """In the file."""

    @property
    def before(self) -> str:
        """The statement as it is."""

    @property
    def after(self) -> str:
        """The statement with the mistake."""


@dataclass(frozen=True)
class MutationReport:
    """The result of trying mutants; printed, it lists what needs attention.

    Attributes:
        targets: the functions.
        mutants: those of each target, by its name.
        outcomes: one for each mutant.
        equivalents: documented mutants that make no difference.
        uncalled: names of targets that no test calls.
    """

    targets: Sequence[Mutated]
    mutants: Mapping[str, Sequence[Planted]]
    outcomes: Sequence[Outcome]
    equivalents: Sequence[Equivalent] = ()
    uncalled: Sequence[str] = ()

    @property
    def unnoticed(self) -> list[str]:
        """Descriptions of the mutants that no test notices and nobody has documented."""
        documented = self._documented()
        alive = [(target, mutant) for target, mutant in self._alive() if (target, mutant.after) not in documented]
        alive.sort(key=lambda pair: (pair[0], pair[1].line))
        return [self._describe(target, mutant) for target, mutant in alive]

    @property
    def stale(self) -> list[str]:
        """Documented mutants that a test notices, or that are no longer made."""
        if self.untried:
            return []  # it may be among those
        alive = {(target, mutant.after) for target, mutant in self._alive()}
        return [f"{target}\n    {after}" for target, after in sorted(self._documented() - alive)]

    @property
    def untried(self) -> int:
        """How many mutants were left when the budget of time was spent."""
        return sum(map(len, self.mutants.values())) - len(self.outcomes)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How many were tried, noticed, documented as equivalent, and unnoticed."""
        alive, unnoticed = len(self._alive()), len(self.unnoticed)
        return len(self.outcomes), len(self.outcomes) - alive, alive - unnoticed, unnoticed

    @property
    def good(self) -> bool:
        """Whether every mutant is noticed or documented, none untried, and the documentation up to date."""
        return not self.unnoticed and not self.stale and not self.untried

    def __str__(self) -> str:
        hung = [
            f"{self._describe(o.target, self.mutants[o.target][o.number])}\n    {o.killer}"
            for o in self.outcomes
            if o.killer.startswith("(")
        ]
        lines: list[str] = []
        for title, block in (
            ("no test calls", self.uncalled),
            ("no test notices", self.unnoticed),
            ("documented as equivalent, but noticed or no longer made", self.stale),
            ("noticed because the process hung or died", hung),
        ):
            if block:
                lines += [f"{title}:", *block, ""]
        tried, noticed, equivalent, left = self.counts
        kinds = Counter(self.mutants[o.target][o.number].kind for o in self.outcomes)
        lines.append(
            f"{tried} mutants of {len(self.targets)} functions: {noticed} noticed, {equivalent} equivalent, "
            f"{left} unnoticed"
        )
        lines.append(", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds, key=_place)))
        if self.untried:
            lines.append(f"{self.untried} mutants were not tried: the time was up; the same call goes on from here")
        return "\n".join(lines)

    def _documented(self) -> set[tuple[str, str]]:
        return {(entry.target, entry.after) for entry in self.equivalents}

    def _alive(self) -> list[tuple[str, Planted]]:
        return [(o.target, self.mutants[o.target][o.number]) for o in self.outcomes if not o.killer]

    def _describe(self, name: str, mutant: Planted) -> str:
        return describe(next(target for target in self.targets if target.name == name), mutant)


def describe(target: Mutated, mutant: Planted) -> str:
    """Where the mistake is, and what it is, on three lines."""
    return f"{target.path}:{mutant.line} {target.name} ({mutant.kind})\n  - {mutant.before}\n  + {mutant.after}"


def _place(kind: str) -> tuple[int, str]:
    """Kinds in the order of ``KINDS``, then others."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS), kind
