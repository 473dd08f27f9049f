"""``minitrain mutants``: mistakes in a file of the user's, what its tests miss, budgets, and what cannot be done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minitrain import cli

LAYER = """
import numpy as np


def scale_forward(x, weight):
    return x * weight, (x, weight)


def scale_backward(dout, cache):
    x, weight = cache
    return dout * weight, (dout * x).sum(axis=0)


class Gate:
    def backward(self, dout):
        return 3 * dout


def helper(x):
    return x + 1
"""
WEAK = """
import numpy as np
from planted_layer import scale_backward

def test_shapes():
    dx, dweight = scale_backward(np.ones((2, 3)), (np.ones((2, 3)), np.ones(3)))
    assert dx.shape == (2, 3) and dweight.shape == (3,)
"""
STRONG = """
import numpy as np
from minitrain.testing import check_gradients
from planted_layer import scale_backward, scale_forward

def test_gradients():
    rng = np.random.default_rng(0)
    check_gradients((scale_forward, scale_backward), rng.standard_normal((2, 3)), rng.standard_normal(3))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[2]))
    monkeypatch.setenv("MINITRAIN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "planted_layer", raising=False)
    (tmp_path / "planted_layer.py").write_text(LAYER)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["mutants", *arguments])
    return code, *capsys.readouterr()


def test_what_weak_tests_miss_is_listed_with_line_and_change(capsys, folder):
    (folder / "test_weak.py").write_text(WEAK)
    code, out, _ = run(capsys, "planted_layer.py", "--processes", "1", "--functions", "scale_backward")
    assert code == 1
    assert out.startswith("scale_backward: tried on test_weak.py")
    assert "planted_layer.py:11 planted_layer.scale_backward (operator)" in out
    assert (
        "  - return (dout * weight, (dout * x).sum(axis=0))\n  + return (dout / weight, (dout * x).sum(axis=0))" in out
    )


def test_strong_tests_miss_nothing(capsys, folder):
    (folder / "tests").mkdir()
    (folder / "tests" / "test_strong.py").write_text(STRONG)
    code, out, _ = run(capsys, "planted_layer.py", "--processes", "2", "--functions", "scale_backward")
    assert code == 0, out
    assert "0 unnoticed" in out
    assert not list((folder / "cache").rglob("*.jsonl"))


def test_functions_of_gradients_are_the_default_and_what_no_test_calls_is_told(capsys, folder):
    (folder / "test_strong.py").write_text(STRONG)
    code, out, _ = run(capsys, "planted_layer.py", "--processes", "1")
    assert code == 1
    assert out.startswith("scale_backward, Gate.backward: tried on test_strong.py")
    assert "no test calls:\nplanted_layer.Gate.backward\n" in out
    assert "return 3 * dout" in out


def test_a_budget_stops_and_the_next_run_goes_on(capsys, folder):
    (folder / "test_strong.py").write_text(STRONG)
    arguments = ["planted_layer.py", "--processes", "1", "--functions", "scale_backward"]
    code, out, err = run(capsys, *arguments, "--minutes", "1e-9")
    assert code == 1
    assert "mutants were not tried: the time was up" in out
    assert "the same command goes on from here" in err
    assert len(list((folder / "cache" / "mutants").iterdir())) == 1
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "0 unnoticed" in out


def test_better_tests_meet_only_what_was_unnoticed(capsys, folder, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("minitrain.cli.measuring.mutants._tell", told.append)
    arguments = ["planted_layer.py", "--processes", "1", "--functions", "scale_backward", "--tests", "test_it.py"]
    (folder / "test_it.py").write_text(WEAK)
    code, out, _ = run(capsys, *arguments)
    assert code == 1
    missed = out.count("\n  + ")
    told.clear()
    (folder / "test_it.py").write_text(WEAK + STRONG)
    code, out, _ = run(capsys, *arguments)
    assert code == 0, out
    assert sum("mutants tried" in line for line in told) == missed
    assert not list((folder / "cache").rglob("*.jsonl"))


def test_the_mistakes_can_be_listed(capsys, folder):
    code, out, _ = run(capsys, "planted_layer.py", "--list", "--functions", "Gate")
    assert code == 0
    assert "planted_layer.Gate.backward (constant)\n  - return 3 * dout\n  + return 4 * dout" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py"], "there is no Python file none.py"),
        (["planted_layer.py"], "no test file next to planted_layer.py, or in a folder tests above it"),
        (["planted_layer.py", "--functions", "nothing"], "there is no function nothing in planted_layer.py; there are"),
        (["planted_layer.py", "--processes", "0"], "--processes 0: give 1 or more"),
        (["planted_layer.py", "--minutes", "0"], "--minutes 0: give more than 0"),
        (["planted_layer.py", "--patience", "0"], "--patience 0: give seconds, more than 0"),
        (["planted_layer.py", "--patience", "inf"], "--patience inf: give seconds, more than 0"),
        (["planted_layer.py", "--tests", "none.py"], "there is no test file none.py"),
        (["broken.py"], "broken.py is no Python"),
        (["failing.py", "--functions", "f"], "failing.py cannot be imported as failing"),
        (["plain.py"], "no function of plain.py has 'backward', 'bwd', 'vjp' or 'grad' in its name: name some of f"),
    ],
)
def test_what_cannot_be_done_is_told(capsys, folder, arguments, message):
    (folder / "broken.py").write_text("def f(:")
    (folder / "failing.py").write_text("import no_such_package\ndef f(): pass")
    (folder / "plain.py").write_text("def f(): pass")
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_tests_that_fail_by_themselves_are_told(capsys, folder):
    (folder / "test_bad.py").write_text("import planted_layer\ndef test_bad():\n    assert False")
    code, _, err = run(capsys, "planted_layer.py", "--processes", "1")
    assert code == 2
    assert "1 tests fail without any mistake, such as test_bad.py::test_bad" in err
