"""What someone new types first: help on names, sweeps and folders as they come, and forms that are not ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.tasks.settings.objective import create_loss
from tests.cli.test_commands import SMALL
from tests.cli.test_commands import call as call  # fixtures
from tests.cli.test_commands import here as here
from tests.cli.test_commands import plugin as plugin
from tests.helpers.small_runs import TEXT


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("callbacks", ["early_stopping", "patience: 5", "callbacks=[NAME"]),
        ("loss", ["label_smoothing", "smoothing: 0.1", "pad_idx: null"]),
        ("metrics", ["accuracy"]),
    ],
)
def test_help_lists_what_can_be_named(group: str, words: list[str], call: Any) -> None:
    said = call("train", "--help", group)
    assert [word for word in words if word not in said] == []


def test_help_lists_what_a_plugin_offers(plugin: str, call: Any) -> None:
    said = call("train", "--plugin", plugin, "--help", "loss")
    assert "\n  twice\n" in said
    assert "one of your own needs --plugin FILE" in said


def test_a_sweep_is_compared_by_its_folder(call: Any, here: Path) -> None:
    call("train", "--multirun", *SMALL, "seed=1,2", "run_dir=runs/sweep")
    said = call("compare", "runs/sweep")
    assert "0_seed=1" in said
    assert "1_seed=2" in said
    assert (here / "runs/sweep/comparison.png").exists()
    files = sorted(map(str, Path("runs/sweep").iterdir()))
    assert "runs/sweep/comparison.png" in files
    assert "1_seed=2" in call("compare", *files), "files among the folders are left out"
    assert "compare needs two or more run folders, or the folder of a sweep" in call("compare", files[0], code=2)


@pytest.mark.parametrize("command", ["plot", "eval", "generate", "train --resume"])
def test_a_folder_that_is_no_run_leads_to_the_runs(command: str, call: Any, here: Path) -> None:
    call("train", *SMALL, "run_dir=runs/one")
    words = command.split()
    assert "runs is not the folder of a run; the runs in it are runs/one" in call(*words, "runs", code=2)
    assert "it belongs to the run runs/one; give that folder" in call(*words, "runs/one/checkpoints", code=2)
    assert "text.txt is a file, not the folder of a run" in call(*words, "text.txt", code=2)
    assert "there is no run folder runs/two; check the path" in call(*words, "runs/two", code=2)


def test_runs_with_parts_of_your_own_are_compared_without_them(call: Any, here: Path) -> None:
    for name in ("a", "b"):
        call("train", *SMALL, f"run_dir=runs/{name}")
        settings = here / "runs" / name / "config.yaml"
        settings.write_text(settings.read_text().replace("callbacks: []", f"callbacks: [mine_{name}]"))
    assert "mine_b" in call("compare", "runs/a", "runs/b")
    assert "callback.name='mine_a' is unknown" in (said := call("train", "--resume", "runs/a", code=2))
    assert "one of your own needs --plugin FILE" in said


def test_a_run_in_python_without_a_checkpoint_says_so(call: Any, here: Path) -> None:
    folder = here / "runs" / "early"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("kind: python\nmodel: {name: MLP, widths: [3, 16, 3]}\n")
    assert "cannot use the run in runs/early: it has no checkpoint yet" in call("eval", "runs/early", code=2)


def test_a_new_run_is_named_by_its_text(call: Any, here: Path) -> None:
    (here / "my notes.v2.txt").write_text(TEXT)
    call("train", *SMALL, "data.path='my notes.v2.txt'")
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"my_notes\.v2-\d{8}-\d{6}", folder.name)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["text.txt"], "for a text, data.path=text.txt"),
        (["--lr", "0.1"], "settings have no dashes: optimizer.learning_rate=1e-3"),
        (["callbacks=ema"], "for one entry write callbacks=[ema]"),
        (["--plugin", "nothing.py"], "there is no such file; check the path"),
    ],
)
def test_a_first_try_is_led_to_the_right_form(arguments: list[str], hint: str, call: Any) -> None:
    assert hint in call("train", *arguments, code=2)


def test_smoothing_by_name_leaves_out_no_character() -> None:
    """A run on a text has no padding: its token 0 counts."""
    logits, targets = np.zeros((1, 4, 5), np.float32), np.array([[0, 1, 0, 2]])
    assert create_loss("label_smoothing").forward(logits, targets)[0].count == 4
    assert create_loss({"name": "label_smoothing", "pad_idx": 0}).forward(logits, targets)[0].count == 2
