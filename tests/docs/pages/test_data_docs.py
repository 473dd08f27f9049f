"""The page about data: its code runs, and its tables have what there is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from minitrain.data import CATALOG
from minitrain.data.records.read import FORMATS
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("docs/data.md", *snippets("docs/data.md"))
    said = capsys.readouterr().out
    assert "3 {'source': 'eine Katze', 'target': 'a cat'}" in said
    assert "2 2 broken: 1 × column 'text' is not of kind text, 1 × column 'text' is empty" in said
    assert "['no', 'yes'] [1]" in said
    assert "(32, 1, 28, 28) float32 (32,)" in said
    assert len(names["train"]) == 2
    assert np.isfinite(names["model"].loss(next(names["pairs"].batches(1)))[0].total)
    assert said.count(" install ") == sum(e.get.count(" install ") for e in CATALOG.values())


def test_the_tables_are_complete() -> None:
    table = PAGE.partition("## Data sets by name")[2]
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))) == set(CATALOG)
    assert all(f"`{ending}`" in PAGE for ending in FORMATS if ending != ".ndjson")
