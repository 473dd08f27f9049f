"""The page of an afternoon is followed from top to bottom: every file, every block and every command on it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitrain.cli import main
from minitrain.records import read_metrics
from minitrain.tasks.settings.objective import LOSSES
from minitrain.training import CALLBACKS, Interrupted
from minitrain.training.callbacks import JsonlLogger
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.places import ROOT

PAGE = (ROOT / "docs" / "howto" / "an_afternoon.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
NEEDED = {"--jobs": "joblib", "--search": "optuna"}
"""Packages without which a command is left out."""


STOP_AT: list[int] = []
"""Ctrl-C is pressed once when the record of this step is written."""


@pytest.fixture(autouse=True)
def keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    write = JsonlLogger.on_log

    def on_log(self: JsonlLogger, view: Any, record: dict[str, Any]) -> None:
        write(self, view, record)
        if record["step"] in STOP_AT:
            STOP_AT.clear()
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(JsonlLogger, "on_log", on_log)


@contextlib.contextmanager
def ctrl_c_at(step: int) -> Iterator[None]:
    """Ctrl-C at the first record of a step."""
    STOP_AT.append(step)
    yield
    assert not STOP_AT


@contextlib.contextmanager
def names_of_the_file_forgotten() -> Iterator[None]:
    """On the page each command is a process of its own, and so is the script."""
    try:
        yield
    finally:
        LOSSES._registered.pop("poly", None)
        CALLBACKS._registered.pop("best_loss", None)


def follow_script(text: str, names: dict[str, Any]) -> None:
    """Save a file, or execute a block."""
    if saved := re.match(r"# (\w+\.py)\n", text):
        Path(saved[1]).write_text(text, encoding="utf-8")
    elif "run.train()" in text:
        with ctrl_c_at(10), pytest.raises(Interrupted) as stop:
            exec(compile(text, "an_afternoon.md", "exec"), names)
        assert str(stop.value).endswith("go on with: minitrain train --resume runs/notebook")
    else:
        with names_of_the_file_forgotten():
            exec(compile(text, "an_afternoon.md", "exec"), names)


def follow_command(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command; what it printed."""
    program, *arguments = shlex.split(line)
    if program == "python":
        done = subprocess.run(
            [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
        return done.stdout
    assert program == "minitrain"
    capsys.readouterr()
    with names_of_the_file_forgotten():
        if "--plugin" in arguments and "--multirun" in arguments and "--resume" not in arguments:
            with ctrl_c_at(10):
                assert main(arguments) == 130
            said = "".join(capsys.readouterr())
            assert f"go on with: {COMMANDS[COMMANDS.index(line) + 1]}\n" in said
        else:
            assert main(arguments) == 0, capsys.readouterr().err
            said = capsys.readouterr().out
    return said


def test_an_afternoon(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())  # `minitrain plot` draws once
    names: dict[str, Any] = {"__name__": "page"}
    said: dict[str, str] = {}
    try:
        for kind, text in BLOCKS:
            if kind == "python":
                follow_script(text, names)
                continue
            for line in text.splitlines():
                if all(importlib.util.find_spec(NEEDED[one]) for one in NEEDED if one in line):
                    said[line] = follow_command(line, capsys)
    finally:
        for module in ("my_layers", "mine", "minitrain_plugin_mine"):
            sys.modules.pop(module, None)

    assert names["result"].history.get_latest("val_accuracy") > 0.9
    assert names["gated_result"].history.get_latest("val_accuracy") > 0.9
    translation = [names["words"][token] for token in names["answer"] if token > 2]
    assert " ".join(translation) == names["translations"][80]

    def printed(start: str) -> str:
        (found,) = [text for line, text in said.items() if line.startswith(start)]
        return found

    assert "epsilon: 1.0" in printed("minitrain train --plugin mine.py --help loss")
    assert "3_learning_r" in printed("minitrain compare runs/sweep")  # the table folds long names
    assert "best_loss" in read_metrics("runs/poly/metrics.jsonl")[0]
    assert len(list(Path("runs/sweep").glob("*/report.html"))) == 4
    assert read_metrics("runs/notebook/metrics.jsonl")[-1]["step"] == 80
    first = read_metrics("runs/more/metrics.jsonl")[0]["loss"]
    assert first < read_metrics("runs/first/metrics.jsonl")[0]["loss"] - 0.5, "it begins where the other ended"
    assert Path("runs/notebook/loss.png").exists()
    assert printed("minitrain generate").startswith("the ")
