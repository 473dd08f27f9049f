"""The outcomes of each unit on disk, and the report that they add up to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from minitrain.testing.mutants import MutationReport, Outcome, load_equivalents

from .places import Mistake
from .switches import Mutated
from .trial import Result
from .units import Unit

EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
FOLDER = Path(__file__).with_name("out")


class Function(NamedTuple):
    """A function of a file, as the report names it."""

    name: str
    path: str

    @classmethod
    def of(cls, path: str, mistake: Mistake) -> Function:
        """The function that a mistake is in."""
        return cls(f"{path} {mistake.function}", f"minitrain/kernels/cuda/{path}")


class Store:
    """Results in files of JSON lines, one for each unit.

    The first line is a fingerprint of the unit's text and of its mistakes; a file with another one is begun anew. The
    checks are not in it: what they noticed they notice still, unless somebody weakens them.

    Args:
        every: all units.
        files: all files with their mistakes.

    Attributes:
        tried: by unit: what noticed a mutant, by its file and number; an empty string for nothing.
    """

    def __init__(self, every: Sequence[Unit], files: Mapping[str, Mutated]) -> None:
        self.every, self.files = every, files
        self.tried = {unit.path: self._read(unit) for unit in every}

    def keep(self, unit: Unit, result: Result) -> None:
        """Note one mutant that was tried in a unit."""
        self.tried[unit.path][result.path, result.number] = result.killer
        file = _file(unit)
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            file.write_text(f"{self._fingerprint(unit)}\n")
        with file.open("a") as lines:
            lines.write(json.dumps(["outcome", *result]) + "\n")

    def killer(self, path: str, number: int) -> str:
        """The check of any unit that noticed a mutant."""
        return next((found for tried in self.tried.values() if (found := tried.get((path, number)))), "")

    def outcome(self, path: str, number: int) -> str | None:
        """The check that noticed a mutant; an empty string if none did in any unit, ``None`` if one is left to try."""
        if found := self.killer(path, number):
            return found
        users = [unit for unit in self.every if path in unit.files]
        return "" if all((path, number) in self.tried[unit.path] for unit in users) else None

    def report(self, paths: Sequence[str]) -> MutationReport:
        """The report of `tools.mutation`, on functions of these files."""
        functions: dict[str, Function] = {}
        mutants: dict[str, list[Mistake]] = {}
        outcomes = []
        for path in paths:
            for number, mistake in enumerate(self.files[path].mistakes):
                function = Function.of(path, mistake)
                functions[function.name] = function
                found = mutants.setdefault(function.name, [])
                if (killer := self.outcome(path, number)) is not None:
                    outcomes.append(Outcome(function.name, len(found), killer))
                found.append(mistake)
        known = [entry for entry in load_equivalents(EQUIVALENTS) if entry.target in functions]
        return MutationReport(list(functions.values()), mutants, outcomes, known)

    def _read(self, unit: Unit) -> dict[tuple[str, int], str]:
        file = _file(unit)
        lines = file.read_text().splitlines() if file.exists() else []
        if not lines or lines[0] != self._fingerprint(unit):
            file.unlink(missing_ok=True)
            return {}
        found = {}
        for line in lines[1:]:
            try:
                _, path, number, killer = json.loads(line)
            except ValueError:  # a line that was being written when the process was killed
                continue
            found[path, number] = killer
        return found

    def _fingerprint(self, unit: Unit) -> str:
        texts = [self.files[name].text + repr(self.files[name].mistakes) for name in unit.files]
        return hashlib.sha256("".join(texts).encode()).hexdigest()


def _file(unit: Unit) -> Path:
    return FOLDER / f"{unit.path.replace('/', '-')}.jsonl"
