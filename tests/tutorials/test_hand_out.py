"""The edition for students: nothing of the answers can be read, and every cell runs whatever the student writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.tutorials.hand_out import for_students
from minitrain.tutorials.sealed import open_seal, seal
from tests.helpers.teaching.classroom import CELLS, RIGHT, filled, teacher


def opened(notebook):
    """The names of a notebook after all its cells have run."""
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(cell["source"], names)
    return names


def test_no_answer_can_be_read_and_nothing_else_is_lost():
    before = teacher()
    edition = for_students(before)
    assert "SECRET" not in json.dumps(edition)
    assert "expect" not in json.dumps(edition)
    assert len(edition["cells"]) == len(before["cells"]) - 1
    assert edition["cells"][0]["source"].startswith("# Title\n\n*Edition for students.")
    assert edition["cells"][0]["source"].endswith("Text.")
    assert before == teacher(), "the teacher's own is not changed"
    assert edition == for_students(before)


@pytest.mark.parametrize("answers", [("", ""), ("def cube_backward(dout, cache): 1 / 0", "double = None"), RIGHT])
def test_all_cells_run_whatever_the_student_writes(answers, capsys):
    checks = ("cube.check(cube_backward)", "twice.check(double)")
    written = [f"{answer}\n{check}" if answer else None for answer, check in zip(answers, checks, strict=True)]
    edition = for_students(teacher())
    names = opened(filled(edition, *written) if all(written) else edition)
    right = answers == RIGHT
    assert names["cube"].passed == names["twice"].passed == right
    assert (names["double"].__code__.co_names == ()) == right, "a right function stays"
    assert ("your function" in capsys.readouterr().out) == right


def test_the_last_hint_which_is_the_answer_is_left_out():
    exercise = opened(for_students(teacher()))["cube"]
    assert "SECRET" not in "".join(exercise.check(lambda dout, cache: None).hint for _ in range(5))


@given(st.text())
def test_a_seal_opens_to_what_was_sealed(text):
    code = text.encode("utf-8", "replace").decode()
    assert open_seal(seal(code)) == code
    assert '"' not in seal(code)
    assert "\\" not in seal(code)


@given(st.text("abc \n"), st.integers(0, 20))
def test_a_changed_seal_is_refused(text, cut):
    whole = seal("x = 1")
    for changed in (whole[: -1 - cut % len(whole)], text):
        with pytest.raises(ValueError, match="was changed"):
            open_seal(changed)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([("", "x = 1")], "0 cells tagged 'exercise'"),
        ([cell for cell in CELLS if cell[0] != "solution"], "2 cells tagged 'exercise' and 0 tagged 'solution'"),
        ([("exercise", "def f(): ..."), ("solution", "")], "cell 2 is tagged 'exercise' and checks nothing; end it with"),
    ],
)
def test_a_notebook_without_exercises_or_solutions_is_refused(cells, words):
    with pytest.raises(ConfigError, match=words):
        for_students(teacher(cells))


def test_the_edition_for_students_is_not_handed_out_again():
    with pytest.raises(ConfigError, match="sealed"):
        for_students(for_students(teacher()))
