"""Mutants that make no difference, with the reasons."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple


class Equivalent(NamedTuple):
    """A mutant that no test can notice.

    Attributes:
        target: the function, such as ``"focal.focal_backward"``.
        after: the statement with the mistake.
        reason: why it makes no difference.
    """

    target: str
    after: str
    reason: str


def load_equivalents(path: str | Path) -> list[Equivalent]:
    """Read a TOML file of ``[[equivalent]]`` tables, each with ``target``, ``reason`` and the list ``mutants``."""
    tables = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("equivalent", [])
    return [Equivalent(table["target"], after, table["reason"]) for table in tables for after in table["mutants"]]
