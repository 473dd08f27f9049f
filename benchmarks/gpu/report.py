"""The report: what was found so far, as a page and as JSON, written anew after each result."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minitrain.benchmark.report import Table, markdown, write_json, write_text

BAD = ("fails", "WRONG", "ended the process")
"""How a result begins that is not a good one."""
HERE = Path(__file__).parent
WARNING = (
    "**This report is an emulated one: no card took part, models are tiny, PyTorch ran on the CPU. It shows that every "
    "part of the script runs. No figure in it says anything about a device.**"
)


class Report:
    """All results so far.

    Attributes:
        folder: where the files go.
        name: of the files, without their endings.
        setting: what was measured on, name -> text.
        parts: of each part that ran: its state, seconds, and why it ended early.
        tables: title -> first cell -> column -> value.
        notes: lines of each part.
    """

    def __init__(self, folder: Path, *, emulated: bool, now: datetime.datetime | None = None) -> None:
        self.folder, self.emulated = folder, emulated
        self.began = now or datetime.datetime.now()
        self.name = f"{self.began:%Y-%m-%d-%H%M%S}-{'emulated' if emulated else 'card'}"
        self.setting: dict[str, str] = {}
        self.parts: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.notes: dict[str, list[str]] = {}
        self._owner: dict[str, str] = {}  # of a table: its part

    def describe(self, setting: Mapping[str, str]) -> None:
        """Say what is measured on; the card's name becomes part of the files' names, if it is known."""
        self.setting |= setting
        card = re.sub(r"[^a-z0-9]+", "-", self.setting.get("card", "").lower().removeprefix("nvidia ")).strip("-")
        if card and not self.emulated:
            self.remove()
            self.name = f"{self.began:%Y-%m-%d-%H%M%S}-{card}"

    def add(self, part: str, event: Mapping[str, Any]) -> None:
        """Take an event of a part."""
        if event["kind"] == "row":
            self._owner.setdefault(event["table"], part)
            self.tables.setdefault(event["table"], {}).setdefault(event["key"], {}).update(event["cells"])
        elif event["kind"] == "note":
            self.notes.setdefault(part, []).append(event["text"])
        elif event["kind"] == "setting":
            self.describe(event["setting"])

    def start(self, part: str) -> None:
        """Note that a part runs."""
        self.parts[part] = {"state": "running", "seconds": 0.0, "why": ""}

    def finish(self, part: str, state: str, seconds: float, why: str = "") -> None:
        """Note how a part ended."""
        self.parts[part] = {"state": state, "seconds": round(seconds, 1), "why": why}

    def bad(self) -> list[str]:
        """The failures: parts that did not end, and rows whose result says that something is wrong."""
        parts = [f"{name}: {part['state']}" for name, part in self.parts.items() if part["state"] != "done"]
        rows = {
            f"{title}, {key}": str(row.get("result", ""))
            for title, rows in self.tables.items()
            for key, row in rows.items()
        }
        return parts + [f"{place}: {text}" for place, text in rows.items() if text.startswith(BAD)]

    @property
    def paths(self) -> tuple[Path, Path]:
        """The page and the JSON file."""
        return self.folder / f"{self.name}.md", self.folder / f"{self.name}.json"

    def write(self) -> None:
        """Write both files whole."""
        page, data = self.paths
        write_text(page, self.page())
        write_json(data, self.as_dict())

    def remove(self) -> None:
        """Remove the files under the present name."""
        for path in self.paths:
            path.unlink(missing_ok=True)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for later comparisons."""
        return {
            "began": self.began.isoformat(timespec="seconds"),
            "emulated": self.emulated,
            "setting": self.setting,
            "parts": self.parts,
            "tables": self.tables,
            "notes": self.notes,
        }

    def page(self) -> list[str]:
        """The paragraphs of the page."""
        title = "An emulated card" if self.emulated else self.setting.get("card", "A card")
        out = [f"# {title}, {self.began:%d %B %Y, %H:%M}"]
        if self.emulated:
            out.append(WARNING)
        out.append("\n".join(f"- {name}: {text}" for name, text in self.setting.items()) or "- nothing is known yet")
        bad = self.bad()
        rows = [[name, p["state"], f"{p['seconds']:.1f}", p["why"]] for name, p in self.parts.items()]
        out += ["## Parts", markdown(Table("", ["part", "state", "seconds", "why"], rows))]
        out.append(
            "\n".join(["What did not go well:", "", *(f"- {line}" for line in bad)])
            if bad
            else "Nothing went wrong so far."
        )
        for part in self.parts:
            mine = [title for title, owner in self._owner.items() if owner == part]
            if mine or self.notes.get(part):
                out.append(f"## {part}")
            out += [markdown(table_of(title, self.tables[title])) for title in mine]
            out += self.notes.get(part, [])
        return out


def table_of(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """The rows under all columns that any of them has; a cell without a value stays empty."""
    columns = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    body = [[key, *(show_cell(cells.get(name)) for name in columns)] for key, cells in rows.items()]
    return Table(title, ["", *columns], body)


def show_cell(value: Any) -> str:
    """A value as text: numbers with the digits that mean something."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e4:
            return f"{value:.4g}"
        return f"{value:,.0f}" if abs(value) >= 1e4 and abs(value) < 1e9 else f"{value:.2e}"
    return str(value).replace("\n", " ")
