"""Grading: right functions are right, mistakes are told, and no trick of a student changes a verdict."""

from __future__ import annotations

import pytest

from minitrain.backend import thread_count
from minitrain.errors import ConfigError
from minitrain.tutorials import Exercise
from minitrain.tutorials.grading import grade
from minitrain.tutorials.hand_out import for_students
from tests.helpers.teaching.classroom import CELLS, RIGHT, filled, teacher

CHEATS = [
    "def double(x):\n    return twice.reference(x)",
    "def double(x):\n    return secret_reference(x)",
    "import minitrain.tutorials.exercise as e\ndef double(x):\n    e.Exercise._judge = lambda *_: (True, '')\n    return x",
    "def double(x):\n    import gc\n    from minitrain.tutorials import Exercise\n    "
    "return [e for e in gc.get_objects() if isinstance(e, Exercise) and e.reference][0].reference(x)",
    "class Fake:\n    check = print\ntwice = Exercise = Fake()\ndef double(x):\n    return x\ntwice.check(double)",
    "import minitrain.tutorials.exercise as e\ne._compare = lambda *_: ''\ndef double(x): ...\ntwice.passed = True",
]


def marks(*answers, **settings):
    """Whether each exercise is right, and what is said, for a notebook that was handed out and filled in."""
    return grade(teacher(), {"a.ipynb": filled(for_students(teacher()), *answers)}, **settings)


def test_right_functions_are_right_with_helpers_and_constants_of_their_own():
    assert all(mark.passed for mark in marks(*RIGHT))
    own = "import math\nTWO = 2\ndef help(x):\n    return TWO * x\ndef double(x):\n    return help(x) + math.log(1)"
    assert [mark.passed for mark in marks(RIGHT[0], own)] == [True, True]


def test_what_was_handed_out_is_not_yet_right():
    found = grade(teacher(), {"a": for_students(teacher())})
    assert [mark.passed for mark in found] == [False, False]
    assert all("not written yet" in mark.findings for mark in found)


def test_mistakes_get_the_checkers_words_and_the_advice():
    cube, double = marks(
        "def cube_backward(dout, cache):\n    return -dout * helper(cache)", "def double(x):\n    return x"
    )
    assert "wrong sign" in cube.findings
    assert cube.advice == "no minus"
    assert "0.5 times" in double.findings
    assert double.advice == ""


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_trick_changes_a_verdict(cheat):
    judge = Exercise._judge
    assert [mark.passed for mark in marks(RIGHT[0], cheat)] == [True, False]
    assert Exercise._judge is judge


def test_numbers_that_were_looked_up_are_not_a_solution():
    values = Exercise("twice", reference=lambda x: x, inputs={"x": (3,)})._values()["x"]
    found = marks(RIGHT[0], f"from numpy import array\ndef double(x):\n    return 2 * {values!r}")[1]
    assert not found.passed
    assert found.findings.startswith("Right for the numbers in the notebook, but not for others.")


def test_a_backward_that_writes_to_its_arguments_is_told():
    found = marks("def cube_backward(dout, cache):\n    dout *= helper(cache)\n    return dout", RIGHT[1])[0]
    assert "must not write to its arguments" in found.findings


def test_an_error_shows_the_students_line():
    found = marks("def cube_backward(dout, cache):\n    return dout.reshape(7)", RIGHT[1])[0]
    assert "ValueError" in found.findings
    assert "in the line: return dout.reshape(7)" in found.findings


def test_a_loop_without_an_end_is_stopped():
    loop = "def cube_backward(dout, cache):\n    while True: pass"
    found = marks(loop, "def double(x):\n    while True: pass", seconds=0.5)
    assert [mark.passed for mark in found] == [False, False]
    assert all("did not end within 0.5 seconds" in mark.findings for mark in found)


def test_broken_cells_and_broken_files_stop_nobody_else():
    broken = filled(for_students(teacher()), "def cube_backward(dout, cache)", "%time 1\n" + RIGHT[1])
    broken["cells"].append({"cell_type": "code", "metadata": {}, "source": "while True: pass"})
    handed_in = {"broken": broken, "file": ConfigError("no file"), "right": filled(teacher(), *RIGHT)}
    found = grade(teacher(), handed_in)
    assert [mark.passed for mark in found] == [False, True, False, False, True, True]
    assert "'def cube_backward(dout, cache)' is no Python: expected ':', line 1" in found[0].findings
    assert "no file" in found[2].findings


def test_the_words_of_an_error_cannot_control_a_terminal():
    found = marks(RIGHT[0], "def double(x):\n    raise Exception('\\x1b[31m' + 'x' * 99999)")[1]
    assert "\x1b" not in found.findings
    assert len(found.findings) < 5000


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([("", "x = 1")], "must have a cell tagged 'solution' after each"),
        ([cell for cell in CELLS if cell[0] != "solution"], "must have a cell tagged 'solution' after each"),
        ([("", "import nothing_like_it"), *CELLS], "begins with 'import nothing_like_it', fails: ModuleNotFoundError"),
        (
            [(tag, text.replace("SECRET * x", "x")) for tag, text in CELLS],
            "the teacher's own solution of 'twice' fails",
        ),
        ([("exercise", "def f(): ..."), ("solution", "def f(): ...")], r"does not end with EXERCISE\.check"),
    ],
)
def test_a_mistake_of_the_teacher_is_told(cells, words):
    before = thread_count()
    with pytest.raises(ConfigError, match=words):
        grade(teacher(cells), {"a": for_students(teacher())})
    assert thread_count() == before


def test_the_edition_for_students_cannot_grade():
    with pytest.raises(ConfigError, match="must have"):
        grade(for_students(teacher()), {})
