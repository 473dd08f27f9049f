"""What a run that was stopped has found, to go on from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .session import Outcome, Visit


class Progress:
    """Survey and outcomes so far, in a file of JSON lines.

    Args:
        path: the file; ``None`` for nowhere.
        fingerprint: of what is tried and of the tests. A file with another one is begun anew.

    Attributes:
        visits: the survey, if there was one.
        outcomes: of the mutants that were tried.
    """

    def __init__(self, path: str | Path | None, fingerprint: str) -> None:
        self._path = None if path is None else Path(path)
        self.visits: list[Visit] = []
        self.outcomes: list[Outcome] = []
        if self._path is None:
            return
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        if lines and lines[0] == fingerprint:
            for line in lines[1:]:
                try:
                    kind, *values = json.loads(line)
                except ValueError:  # the last line of a run that was killed
                    break
                if kind == "visits":
                    self.visits = [Visit(*visit) for visit in values]
                else:
                    self.outcomes.append(Outcome(*values))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(f"{fingerprint}\n", encoding="utf-8")
        if self.visits:
            self.keep_visits(self.visits)
        for outcome in self.outcomes:
            self.keep(outcome)

    def keep_visits(self, visits: Sequence[Visit]) -> None:
        """Note the survey."""
        self._write(["visits", *visits])

    def keep(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self._write(["outcome", *outcome])

    def remove(self) -> None:
        """All is done: begin anew the next time."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, values: list[Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
