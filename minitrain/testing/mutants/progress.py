"""The outcomes of a run of mutants, in a file of JSON lines from which a later run continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import mistakes
from .session import Outcome, Visit
from .target import Target


class Progress:
    """Survey and outcomes so far.

    The file begins with fingerprints of the tests and of each file with functions. An outcome is believed if the file
    of its function is the same. If the tests changed, they are surveyed again, and only what a test noticed that still
    passes counts as tried.

    Args:
        path: the file; ``None`` for nowhere.
        targets: the functions.
        tests: the test files.

    Attributes:
        visits: the survey; empty if there is none of these tests.
        outcomes: of mutants that need not be tried again.
    """

    def __init__(self, path: str | Path | None, targets: Iterable[Target], tests: Sequence[str]) -> None:
        self._path = None if path is None else Path(path)
        self.visits: list[Visit] = []
        self.outcomes: list[Outcome] = []
        if self._path is None:
            return
        targets = list(targets)
        sources = {target.name: target.function.__code__.co_filename for target in targets}
        self._functions = {name: _digest([mistakes.__file__, source]) for name, source in sources.items()}
        self._tests = _digest(tests, repr(sorted(target.reference for target in targets)))
        self._read()
        self._write()

    def surveyed(self, visits: Sequence[Visit]) -> None:
        """Keep a survey, and of what was noticed before only what a test noticed that passes."""
        self.visits = list(visits)
        passing = {visit.test for visit in visits if visit.passed}
        self.outcomes = [one for one in self.outcomes if one.killer in passing or one.killer.startswith("(")]
        self._write()

    def tried(self, outcome: Outcome) -> None:
        """Keep the outcome of a mutant."""
        self.outcomes.append(outcome)
        self._append(["outcome", *outcome])

    def remove(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        assert self._path is not None
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        found: list[Any] = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:  # the last line of a run that was killed, or another format
                break
        if not found or not isinstance(found[0], dict):
            return
        head, same_tests = found[0], found[0]["tests"] == self._tests
        same = {name for name, digest in self._functions.items() if head["functions"].get(name) == digest}
        for kind, *values in found[1:]:
            if kind == "visits" and same_tests:
                self.visits = [Visit(*visit) for visit in values]
            elif kind == "outcome" and values[0] in same:
                self.outcomes.append(Outcome(*values))

    def _write(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            head = {"tests": self._tests, "functions": self._functions}
            lines: list[Any] = [head, *([["visits", *self.visits]] if self.visits else [])]
            lines += [["outcome", *outcome] for outcome in self.outcomes]
            self._path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _append(self, values: list[Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")


def _digest(files: Iterable[str], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for path in sorted(files):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()
