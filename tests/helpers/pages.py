"""The code of a page, and a folder of its own to run it in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.places import ROOT

TEXT = "the quick brown fox jumps over the lazy dog\nand runs away from it, as fast as it can\n" * 30


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXT)


def snippets(path: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), re.DOTALL)


def run(path: str, *snippets: str) -> dict[str, Any]:
    """The names that the snippets leave behind, run one after the other."""
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets:
        exec(compile(snippet, path, "exec"), names)
    return names
