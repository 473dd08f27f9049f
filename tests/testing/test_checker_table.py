"""The 90 cases of ``benchmarks.gradcheck_table``: the checker is right about each, and each is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import gradcheck_table as table
from benchmarks.gradchecks import operations
from benchmarks.gradchecks.case import Case, always
from benchmarks.gradchecks.checkers import Verdict, minitrain
from minitrain.testing import check_gradients


def large(inputs):
    """A million elements take seconds."""
    return [pytest.mark.slow] if inputs[0].size > 100_000 else []


@pytest.mark.parametrize("case", [pytest.param(case, marks=large(case.inputs), id=case.name) for case in table.WRONG])
def test_a_mistake_is_found(case):
    assert minitrain(case).accepted is False


@pytest.mark.parametrize("case", table.RIGHT, ids=lambda case: case.name)
def test_a_right_backward_passes(case):
    assert minitrain(case) == Verdict(True, "")


RIGHT_ONES = [
    (case.name, forward, backward, case.inputs)
    for case in table.WRONG
    if (forward := case.make()[0]).__module__ == operations.__name__
    and (backward := getattr(operations, f"{forward.__name__}_backward", None)) and not case.letters
]  # fmt: skip


@pytest.mark.parametrize(
    ("forward", "backward", "inputs"), [pytest.param(*row[1:], marks=large(row[3]), id=row[0]) for row in RIGHT_ONES]
)
def test_without_the_mistake_the_same_inputs_pass(forward, backward, inputs):
    assert check_gradients((forward, backward), *inputs).worst < 1e-6


def test_there_are_as_many_cases_as_the_page_says():
    assert (len(table.WRONG), len(table.RIGHT)) == (60, 30)
    assert len({case.name for case in [*table.WRONG, *table.RIGHT]}) == 90
    assert len(RIGHT_ONES) > 25


def test_the_page_is_that_of_these_cases():
    text = table.PAGE.read_text(encoding="utf-8")
    for case in [*table.WRONG, *table.RIGHT]:
        assert f"| {case.group} | {case.name} | **" in text
    assert "| minitrain | 60 of 60 | 30 of 30 |" in text


def test_a_wrong_verdict_fails_the_command(capsys, monkeypatch):
    monkeypatch.setattr(
        table, "RIGHT", [Case("wrong", "", always(operations.square, lambda dout, x: dout), (np.ones(2),))]
    )
    assert table.main(["--checkers", "minitrain", "--only", "wrong", "--check"]) == 1
    assert "minitrain is wrong about: wrong: the gradient of 1 of 1 arguments is wrong" in capsys.readouterr().err
