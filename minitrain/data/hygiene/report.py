"""The result of cleaning, in numbers and in words: kinds, counts and places, never a piece of a text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import printable

_BIN = 0.05
"""Width of a bin of similarities."""
_SHOWN = 8
"""Rules and kinds that are shown by name; ``report.json`` has all."""


@dataclass
class CleanReport:
    """The numbers of records that were read, kept, removed and masked.

    Attributes:
        folder: where the results are.
        data: the file with what was kept.
        sha256: of that file.
        files: the files that were read.
        steps: what was done, with all settings.
        read: records.
        kept: records.
        removed: records by reason and rule.
        marked: records that stayed in spite of a finding, by reason and rule; some count several times.
        masked: pieces of personal data by kind, in records that were kept.
        masked_records: records with such a piece that were kept.
        similarities: of near duplicates, by the lower ends of bins of 0.05.
    """

    folder: Path
    data: Path
    files: list[str]
    steps: list[str]
    sha256: str = ""
    read: int = 0
    kept: int = 0
    removed: Counter[tuple[str, str]] = field(default_factory=Counter)
    marked: Counter[tuple[str, str]] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    masked_records: int = 0
    similarities: Counter[str] = field(default_factory=Counter)

    def add_similarity(self, similarity: float) -> None:
        """Count a near duplicate."""
        self.similarities[f"{int(similarity / _BIN + 1e-9) * _BIN:.2f}"] += 1

    def to_dict(self) -> dict[str, Any]:
        """All numbers, nested dictionaries of plain values; it does not depend on where the folder is."""
        return {
            "files": self.files,
            "steps": self.steps,
            "data": self.data.name,
            "sha256": self.sha256,
            "read": self.read,
            "kept": self.kept,
            "removed": _by_reason(self.removed),
            "marked": _by_reason(self.marked),
            "masked": dict(sorted(self.masked.items())),
            "masked_records": self.masked_records,
            "similarities": dict(sorted(self.similarities.items())),
        }

    def rows(self) -> list[tuple[str, int, str]]:
        """The table: a name, a number, and what it is made of, the most frequent first."""
        share = f"{self.kept / self.read:.1%} of the records" if self.read else ""
        found = [
            ("read", self.read, f"from {len(self.files):,} file{'s' * (len(self.files) != 1)}"),
            ("kept", self.kept, share),
            ("removed", self.removed.total(), ""),
        ]
        found += [(f"  {name}", rules.total(), _named(rules)) for name, rules in _grouped(self.removed).items()]
        found += [(f"marked {name}", rules.total(), _named(rules)) for name, rules in _grouped(self.marked).items()]
        found.append(("masked", self.masked.total(), _named(self.masked)))
        return [*found, ("  records with these", self.masked_records, "")]

    def describe(self) -> str:
        """The table in plain text."""
        lines = [f"{name:<20}{count:>12,}   {detail}".rstrip() for name, count, detail in self.rows()]
        return printable("\n".join(lines))

    def to_markdown(self) -> str:
        """A page: the table, the similarities and the settings."""
        lines = ["# Cleaning report", "", "| step | records | of these |", "|---|---:|---|"]
        lines += [f"| {_cell(name)} | {count:,} | {_cell(detail)} |" for name, count, detail in self.rows()]
        lines += ["", "The row of masked data counts pieces of personal data, not records."]
        if self.similarities:
            lines += ["", "## Near duplicates", "", "| estimated similarity from | records |", "|---:|---:|"]
            lines += [f"| {low} | {count:,} |" for low, count in sorted(self.similarities.items())]
        lines += ["", "## Steps", "", *(f"- {_cell(step)}" for step in self.steps)]
        lines += ["", "## Files", "", *(f"- {_cell(file)}" for file in self.files), ""]
        return "\n".join(lines)


def _grouped(counts: Counter[tuple[str, str]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for (reason, rule), count in sorted(counts.items()):
        found.setdefault(reason, Counter())[rule] += count
    return found


def _by_reason(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    return {reason: dict(rules) for reason, rules in _grouped(counts).items()}


def _named(counts: Counter[str]) -> str:
    ordered = sorted(((name, count) for name, count in counts.items() if name), key=lambda one: (-one[1], one[0]))
    named = [f"{count:,} {name}" for name, count in ordered[:_SHOWN]]
    return ", ".join([*named, *[f"{len(ordered) - _SHOWN} other kinds"] * (len(ordered) > _SHOWN)])


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").strip()
