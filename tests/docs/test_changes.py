"""The table of moved names is right: the old names say where they are, and the new places have them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import minitrain.training

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "changes.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("### Where names went")[2].partition("\n\nA name that left")[0]
MOVED = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| `minitrain.training`:")]


def test_there_are_notes_of_each_kind_and_a_policy() -> None:
    for title in ("### Fixed", "### Changed", "### Added", "### Removed", "## Deprecation policy"):
        assert f"\n{title}\n" in PAGE


@pytest.mark.parametrize(("old", "new"), MOVED, ids=lambda cell: cell[-30:])
def test_moved_names_are_where_the_table_says(old: str, new: str) -> None:
    package = re.findall(r"`(minitrain\.\w+)`", new)[0]
    for name in re.findall(r"`(\w+)`", old):
        assert hasattr(importlib.import_module(package), name)
        if "and still in" in new:
            assert hasattr(minitrain.training, name)
        else:
            with pytest.raises(AttributeError, match=f"is now {package}.{name}"):
                getattr(minitrain.training, name)


def test_the_new_modules_exist() -> None:
    for line in TABLE.splitlines():
        for module in re.findall(r"`(minitrain(?:\.[a-z_]+)+)`", line.rpartition(" | ")[2]):
            importlib.import_module(module)
