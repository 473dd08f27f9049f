"""The commands for teachers: what they write, print and return."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.tutorials.__main__ import main
from minitrain.tutorials.grading import Mark
from minitrain.tutorials.marks import table, write_marks
from minitrain.tutorials.notebook import read_notebook
from tests.helpers.teaching.classroom import RIGHT, filled, teacher


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "course.ipynb").write_text(json.dumps(teacher()))
    assert main(["hand-out", "course.ipynb", "--out", "handout"]) == 0
    edition = read_notebook("handout/course.ipynb")
    (tmp_path / "right.ipynb").write_text(json.dumps(filled(edition, *RIGHT)))
    (tmp_path / "half.ipynb").write_text(json.dumps(filled(edition, RIGHT[0], "def double(x): return -2 * x")))
    (tmp_path / "broken.ipynb").write_text("{")
    return tmp_path


def test_a_class_is_graded(folder, capsys):
    assert main(["grade", "course.ipynb", "right.ipynb"]) == 0
    capsys.readouterr()
    files = ["right.ipynb", "half.ipynb", "broken.ipynb"]
    assert main(["grade", "course.ipynb", *files, "--out", "marks.csv"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["right.ipynb", "right", "right", "2", "of", "2"]
    assert lines[2].split() == ["half.ipynb", "right", "not", "yet", "1", "of", "2"]
    assert "half.ipynb, twice: not yet" in lines
    assert any("cannot be read as a notebook" in line for line in lines)
    with open(folder / "marks.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["exercise"], row["passed"]) for row in rows[2:4]] == [
        ("half.ipynb", "cube_backward", "True"),
        ("half.ipynb", "twice", "False"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("hand-out course.ipynb --out .", "would write over it"),
        ("hand-out right.ipynb --out more", "right.ipynb: "),
        ("hand-out missing.ipynb --out more", "missing.ipynb cannot be read"),
        ("grade right.ipynb half.ipynb", "the teacher's notebook must have"),
        ("grade course.ipynb half.ipynb --out marks.txt", "written as .json or .csv"),
        ("grade course.ipynb half.ipynb --seconds 0", "--seconds 0"),
    ],
)
def test_what_cannot_be_done_is_told(folder, arguments, words, capsys):
    assert main(arguments.split()) == 2
    assert words in capsys.readouterr().err


@given(st.lists(st.builds(Mark, st.text(), st.text(), st.booleans(), st.text(), st.text())))
def test_marks_are_written_whole_and_no_spreadsheet_runs_them(tmp_path_factory, marks):
    path = tmp_path_factory.mktemp("marks") / "marks.json"
    write_marks(marks, path)
    assert [Mark(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))] == marks


def test_a_formula_is_text():
    marks = [Mark("=1+1", "b", False, "@sum", "-x")]
    assert "=1+1  not yet  0 of 1" in table(marks)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x"])
def test_no_cell_of_a_table_begins_like_a_formula(text, tmp_path):
    write_marks([Mark(text, text, False, text, text)], tmp_path / "marks.csv")
    with open(tmp_path / "marks.csv", newline="", encoding="utf-8") as file:
        row = list(csv.reader(file))[1]
    assert row == [f"'{text}", f"'{text}", "False", f"'{text}", f"'{text}"]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"nbformat": 3, "worksheets": []}',
        '{"nbformat": 4, "cells": [1]}',
        '{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}',
        '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "metadata": {"tags": [[]]}}]}',
        '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "", "metadata": []}]}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_what_is_no_notebook_is_refused(content, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"a\.ipynb"):
        read_notebook(path)
