"""``minitrain gradcheck``: the table, what a wrong backward looks like in it, and the exit codes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minitrain import cli
from minitrain.cli import gradcheck
from minitrain.nn import LayerNorm
from minitrain.ops import Pair, registry
from minitrain.testing.cases import CASES, LAYERS, Case, LayerCase
from minitrain.testing.cases.layer import features
from minitrain.testing.suite import Verdict, subjects
from tests.helpers.places import ROOT

SOFTMAX = registry()["softmax"]


@pytest.fixture(autouse=True)
def plain_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns, no colours, and Hypothesis's folder stays where it is."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(gradcheck, "_keep_files_away", lambda: None)


class PlantedCase(Case):
    """Softmax with another backward."""

    backward: Any

    @property
    def pair(self) -> Pair:
        return Pair("softmax", SOFTMAX.forward, self.backward)


def plant(monkeypatch: pytest.MonkeyPatch, backward: Any) -> None:
    class Planted(PlantedCase):
        pass

    backward.reference = SOFTMAX.backward.reference  # whose annotations say what is returned
    Planted.backward = staticmethod(backward)
    real = CASES["softmax"]
    monkeypatch.setitem(CASES, "softmax", Planted(real.name, real.draw, real.no_gradient, real.left_to_reference))


def twice(dout, cache):
    return 2 * SOFTMAX.backward(dout, cache)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["gradcheck", *arguments])
    return code, *capsys.readouterr()


def test_a_right_backward(capsys):
    code, out, err = run(capsys, "layer_norm", "rms norm", "--examples", "3")
    head, op, empty, layers_head, layer, empty2, summary = out.splitlines()
    assert (code, err, empty, empty2) == (0, "", "", "")
    assert head.split() == ["operation", "worst", "error", "calls", "arguments", "checked"]
    assert layers_head.split() == ["layer", "worst", "error", "calls", "arguments", "checked"]
    assert op.split()[0::2] == ["layer_norm", "3", "weight,"]
    assert layer.split() == ["rms", "norm", layer.split()[2], "3", "x,", "weight"]
    assert 0 < float(op.split()[1]) < 1e-9
    assert summary.startswith("right: 1 operation and 1 layer, 5 gradients in 6 calls, worst relative error ")


def test_the_seed_chooses_the_calls(capsys):
    tables = [run(capsys, "layer norm", "--examples", "2", "--seed", seed)[1].splitlines()[1] for seed in "113"]
    assert tables[0] == tables[1] != tables[2]


def test_a_wrong_backward_is_shown_with_its_call(capsys, monkeypatch):
    plant(monkeypatch, twice)
    code, out, _ = run(capsys, "softmax", "silu", "--examples", "5")
    _, row, call, argument, hint, right, _, summary = out.splitlines()
    assert code == 1
    # The first call that is wrong ends the check: the derivative of a row of one is zero, twice nothing is right.
    assert float(row.split()[1]) == 0.5
    assert 1 <= int(row.split()[2]) <= 5
    assert call.startswith("  softmax(x (")
    assert "the gradient of 1 of 1 arguments is wrong" in call
    assert argument.startswith("    x (")
    assert "analytic" in argument
    assert "numeric" in argument
    assert hint.startswith("      hint: every element is 2 times what it should be")
    assert right.split()[:1] == ["silu"]
    assert summary.startswith("1 of 2 are wrong: softmax (2 gradients in ")


def test_a_wrong_layer_is_shown_with_its_call(capsys, monkeypatch):
    class Wrong(LayerNorm):
        def backward(self, dout, cache):
            return -super().backward(dout, cache)

    monkeypatch.setitem(LAYERS, "wrong", LayerCase(lambda rng: Wrong(8, eps=0.1), features, {}))
    code, out, _ = run(capsys, "wrong", "--examples", "5")
    assert code == 1
    assert out.splitlines()[1].split()[:3] == ["wrong", "2.0e+00", "1"]
    assert "  Wrong(x (2, 4, 8)): the gradient of 1 of 3 arguments is wrong" in out
    assert "every element has the wrong sign" in out


def test_a_backward_that_fails_is_shown_too(capsys, monkeypatch):
    def broken(dout, cache):
        raise ZeroDivisionError("nothing to divide by")

    plant(monkeypatch, broken)
    code, out, _ = run(capsys, "softmax")
    assert code == 1
    assert out.splitlines()[1].split()[:3] == ["softmax", "failed", "1"]
    assert "): ZeroDivisionError: nothing to divide by" in out


def test_a_case_that_cannot_be_drawn_is_no_wrong_backward(capsys, monkeypatch):
    def draw(draw, extent):
        draw(extent.width)
        raise ZeroDivisionError("no such size")

    monkeypatch.setitem(CASES, "softmax", Case("softmax", draw, (), lambda call: False))
    code, _, err = run(capsys, "softmax")
    assert code == 1
    assert "bug" in err
    assert "ZeroDivisionError: no such size" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sofmax"], "unknown name 'sofmax'; did you mean softmax?"),
        (["layernorm"], "unknown name 'layernorm'; did you mean layer_norm?"),
        (["qqq"], "unknown name 'qqq'; there are the families activations, attention, "),
        (["softmax", "--examples", "0"], "--examples 0: give 1 or more"),
        (["softmax", "--seed", "-1"], "--seed -1: give 0 or more"),
        (["softmax", "--examples", "many"], "invalid int value: 'many' (see minitrain gradcheck --help)"),
        (["none.py"], "there is no file none.py"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_one_line(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_name_is_that_of_an_operation_a_layer_or_a_family():
    chosen = gradcheck._chosen(["linear", "regression", "linear"])
    assert [(subject.kind, subject.name) for subject in chosen[:2]] == [("operation", "linear"), ("layer", "linear")]
    assert {subject.family for subject in chosen[2:]} == {"regression"}
    assert len(gradcheck._chosen([])) == len(CASES) + len(LAYERS)


MY_LAYER = """
import numpy as np
from minitrain.nn import LayerNorm
from minitrain.testing.cases import layer_case

layer_case("my norm", lambda rng: LayerNorm(8, eps=0.1))
"""


def test_a_file_of_ones_own(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["minitrain.testing.cases.layer"], "LAYERS", layers := dict(LAYERS))
    monkeypatch.setattr(sys.modules["minitrain.testing.suite"].subjects, "__defaults__", (CASES, layers))
    for name, text in (("mine.py", MY_LAYER), ("empty.py", ""), ("bad.py", "1 / 0")):
        (tmp_path / name).write_text(text)
    code, out, _ = run(capsys, str(tmp_path / "mine.py"), "--examples", "2")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[:2]] == [["layer", "worst"], ["my", "norm"]]
    code, _, err = run(capsys, str(tmp_path / "empty.py"))
    assert code == 2
    assert "empty.py registers no case: call layer_case(...) of minitrain.testing.cases in it" in err
    code, _, err = run(capsys, str(tmp_path / "bad.py"))
    assert code == 2
    assert "bad.py does not run: ZeroDivisionError: division by zero" in err


@pytest.fixture
def register(monkeypatch, tmp_path):
    """Writes a file of cases, which are forgotten afterwards; returns its path."""
    monkeypatch.setattr(sys.modules["minitrain.testing.cases.layer"], "LAYERS", layers := dict(LAYERS))
    monkeypatch.setattr(sys.modules["minitrain.testing.suite"].subjects, "__defaults__", (CASES, layers))

    def write(*parts: str) -> str:
        (tmp_path / "my_layers.py").write_text("\n".join(parts))
        return str(tmp_path / "my_layers.py")

    return write


GATE = """
import numpy as np
import minitrain as mt
from minitrain.testing.cases import layer_case
"""


def gate_of_the_documentation() -> str:
    text = (ROOT / "docs" / "training.md").read_text()
    return text[text.index("class Gate(") :].partition("\n\n\nprint(")[0]


def test_the_layer_of_the_documentation_passes(capsys, register):
    text = (ROOT / "docs" / "training.md").read_text()
    cases = "\n".join(line for line in text.splitlines() if line.startswith("layer_case("))
    code, out, _ = run(capsys, register(GATE, gate_of_the_documentation(), cases))
    assert code == 0
    assert "\ngate " in out
    assert "\nnarrow gate " in out


def test_a_layer_that_the_default_input_does_not_fit_is_told_to_pass_inputs(capsys, register):
    case = 'layer_case("gate", lambda rng: Gate(3))'
    code, out, _ = run(capsys, register(GATE, gate_of_the_documentation(), case))
    assert code == 1
    assert "Gate(x (2, 4, 8)): ValueError: operands could not be broadcast" in out
    assert "this is the default input, x (2, 4, 8): if the layer needs another, draw it with inputs=" in out
    assert "layer_case('gate', ..., inputs=lambda rng: (rng.standard_normal((5, 3)),))" in out


def test_rows_fit_on_a_narrow_screen():
    for kind in ("operation", "layer"):
        table = gradcheck._Table(kind, chosen := subjects(), 80)
        for subject in chosen:
            if subject.kind == kind:
                errors = {f"block.{i}.attention.weight": 1e-10 for i in range(9)}
                row = table.row(Verdict(subject.name, kind, errors, 10)).plain
                assert len(row) <= 80
                assert row.endswith("9 in all")
    assert gradcheck._listed(["x", "weight"], 20) == "x, weight"
    long = gradcheck._Table("layer", [replace(subjects()[-1], name="y" * 90)], 80)
    assert long.row(Verdict("y" * 90, "layer", {"x": 1e-10}, 10)).plain == "y" * 37 + "...      1.0e-10     10  x"


@pytest.mark.parametrize(
    ("error", "failure", "style"), [(1e-12, "", "green"), (1e-7, "", "yellow"), (1e-3, "it is wrong", "red")]
)
def test_errors_have_colours_by_size(error, failure, style):
    row = gradcheck._Table("layer", subjects(), 80).row(Verdict("linear", "layer", {"x": error}, 3, failure))
    assert [span.style for span in row.spans] == [style]


def test_no_file_is_left_where_it_runs(tmp_path):
    command = [sys.executable, "-m", "minitrain", "gradcheck", "softmax", "--examples", "2"]
    root = str(Path(cli.__file__).parents[2])
    environment = {"PYTHONPATH": root, "MINITRAIN_CACHE_DIR": str(tmp_path / "cache"), "PATH": ""}
    (tmp_path / "here").mkdir()
    done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "right: 1 operation, 1 gradient in 2 calls" in done.stdout
    assert "\x1b" not in done.stdout
    assert not list((tmp_path / "here").iterdir())


FUNCTIONS = """
import numpy as np

def scale(x, weight):
    return x * weight, (x, weight)

def scale_backward(dout, cache):
    x, weight = cache
    return dout * weight, (dout * x).sum(axis=0)

def wrong_forward(x):
    return x * x, x

def wrong_backward(dout, x):
    return 3 * x * dout

def strange(x):
    if x.shape != (2, 7):
        raise ValueError("no such shape")
    return x + 1, None

def strange_backward(dout, cache):
    return dout

GRADCHECK = {"strange": "x: 2 7"}
"""


def test_functions_of_a_file_are_found_and_their_shapes_guessed(capsys, register):
    code, out, _ = run(capsys, register(FUNCTIONS), "--examples", "5")
    assert code == 1
    rows = {line.split()[0]: line for line in out.splitlines() if line[:1].isalpha()}
    assert rows["function"].split()[1:3] == ["worst", "error"]
    assert rows["scale"].split()[3:] == ["x,", "weight"]
    assert rows["strange"].split()[3:] == ["x"]
    assert "  wrong(x (1, 1)): the gradient of 1 of 1 arguments is wrong" in out
    assert "every element is 1.5 times what it should be" in out
    assert (
        "the shapes are guesses, 'x: A B': if they do not fit, write GRADCHECK = {'wrong': 'x: B C; weight: C'}" in out
    )


def test_a_function_that_no_guess_fits_is_told(capsys, register):
    code, out, _ = run(capsys, register(FUNCTIONS.replace("GRADCHECK", "OTHER")), "--examples", "5")
    assert code == 1
    assert "no guess of shapes fits x: write GRADCHECK = {'strange': 'x: B C; weight: C'}" in out


def test_a_framework_that_the_file_does_not_use(capsys, register):
    code, _, err = run(capsys, register(FUNCTIONS), "--framework", "torch")
    assert code == 2
    assert "it has nothing with a backward for torch, such as f and f_backward" in err
