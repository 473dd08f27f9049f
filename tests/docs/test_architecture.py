"""The table of packages says what the packages say of themselves, in the order of their imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tools import package_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_table_is_made_from_the_docstrings() -> None:
    assert f"\n\n{package_table.table()}\n\n" in PAGE, "run python -m tools.package_table"


def test_each_package_imports_only_what_stands_above_it() -> None:
    for place, name in enumerate(package_table.ORDER):
        above = {*package_table.ORDER[:place], name}
        folder = ROOT / "minitrain" / name
        for file in folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            below = imported_parts(file) & set(package_table.ORDER) - above
            assert not below, f"{file.relative_to(ROOT)} imports {', '.join(below)}, which stands below {name}"


def imported_parts(file: Path) -> set[str]:
    """The parts of minitrain that a file imports from."""
    depth = len(file.relative_to(ROOT / "minitrain").parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def test_the_files_that_the_page_names_exist() -> None:
    for path in re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*/(?:[a-z_0-9]+\.(?:py|md|toml))?)`", PAGE):
        assert any((root / path).exists() for root in (ROOT, ROOT / "minitrain", ROOT / "minitrain" / "training")), path
    training = PAGE.partition("| file of `training/` |")[2].partition("\n\n")[0]
    cells = "".join(line.split("|")[1] for line in training.splitlines()[2:])
    listed = {name.rstrip("/") for name in re.findall(r"`([a-z_]+(?:\.py|/))`", cells)}
    folder = ROOT / "minitrain" / "training"
    assert listed == {path.name for path in folder.iterdir() if not path.name.startswith("__")}
