"""Mutants that change nothing anyone could notice, by name and with the reason, from ``equivalents.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("equivalents.toml")


class Equivalent(NamedTuple):
    """One entry."""

    target: str  # such as "focal.focal_backward"
    after: str  # the statement with the mistake
    reason: str


def load(path: Path = FILE) -> list[Equivalent]:
    """The entries of the file; each has ``target``, ``reason`` and the list ``mutants``."""
    tables = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
    return [Equivalent(table["target"], after, table["reason"]) for table in tables for after in table["mutants"]]
