"""The page about tasks: its code runs, and its tables have what there is."""

from __future__ import annotations

import re

import pytest

from minitrain.conf import packaged_options, packaged_values
from minitrain.data.records.read import FORMATS
from minitrain.settings.section import settings
from minitrain.tasks.settings.data import DATA
from minitrain.tasks.settings.model import MODELS
from minitrain.tasks.task import TASKS
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)}


def test_the_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pairs, looks, labels, body, shapes, own = snippets("docs/tasks.md")
    run("docs/tasks.md", body)
    run("docs/tasks.md", pairs + "\n" + looks)
    assert capsys.readouterr().out.endswith("dr ei\n['t', 'h', 'r', 'e', 'e'] ['dr', 'ei', '<end>'] (1, 3, 5)\n")
    run("docs/tasks.md", labels)
    said = capsys.readouterr().out
    assert "always " in said
    assert float(said.split()[-1]) > 0.9
    try:
        run("docs/tasks.md", pairs.partition("from minitrain")[0] + own)
    finally:
        TASKS._registered.pop("backwards", None)
    assert capsys.readouterr().out.endswith("kjihgf\n")
    run("docs/tasks.md", shapes)
    said = capsys.readouterr().out
    assert "all alike" in said
    assert "zero-shot %" in said


def test_the_table_is_complete() -> None:
    assert ROWS.keys() == {name for name in TASKS if not name.startswith("test_")}
    for name, (data, models, recipes) in ROWS.items():
        assert re.findall(r"`(\w+)`", data) == list(TASKS[name].data_kinds)
        assert set(re.findall(r"`(\w+)`", models)) == {model for model, kind in MODELS.items() if kind.task == name}
        of_task = {
            one
            for one in packaged_options("recipe")
            if packaged_values("recipe", one).get("task", "language_model") == name
        }
        assert set(re.findall(r"`(\w+)`", recipes)) == of_task
        assert TASKS[name].usual_recipe in of_task


def test_what_it_names_is_there() -> None:
    known = {name for section in DATA.values() for name in settings(section)}
    assert set(re.findall(r"`data\.(\w+)", PAGE)) <= known
    assert set(re.findall(r"recipe=(\w+)", PAGE)) <= {*packaged_options("recipe"), "null"}
    assert all(f"`{ending}`" in PAGE for ending in FORMATS if ending != ".ndjson")
