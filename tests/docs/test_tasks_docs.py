"""The page about tasks: its code runs, and its tables have what there is."""

from __future__ import annotations

import re

import pytest

from minitrain.conf import packaged_options
from minitrain.data.records.read import FORMATS
from minitrain.settings.section import settings
from minitrain.tasks.settings.captions import CaptionsConfig
from minitrain.tasks.settings.labels import ImagesConfig, LabelledTextConfig
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_the_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run("docs/tasks.md", *snippets("docs/tasks.md"))
    said = capsys.readouterr().out
    assert "always " in said
    assert "all alike" in said
    assert float(said.split()[-1]) > 0.9


def test_what_it_names_is_there() -> None:
    known = settings(ImagesConfig).keys() | settings(LabelledTextConfig).keys() | settings(CaptionsConfig).keys()
    assert set(re.findall(r"`data\.(\w+)", PAGE)) <= known
    assert set(re.findall(r"recipe=(\w+)", PAGE)) <= set(packaged_options("recipe"))
    assert all(f"`{ending}`" in PAGE for ending in FORMATS if ending != ".ndjson")
