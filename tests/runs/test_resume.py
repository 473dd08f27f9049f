"""Exact resume: a run interrupted anywhere, in any way, ends with the bytes of one that was not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import Contents
from minitrain.errors import CheckpointError, DataError
from minitrain.runs import RunConfig, load_run, resume_run, start_run
from minitrain.training import Interrupted
from tests.helpers.small_runs import STEPS, outcome, small_config, tree

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())
        start_run(small_config(folder)).train()
    return outcome(folder / "run")


def at_step(step: int, action: Callable[[], object]) -> Callable[[Any], None]:
    """Changes a trainer so that ``action`` happens in the middle of update number ``step``, counted from 0."""

    def install(trainer: Any) -> None:
        schedule = trainer.setup.schedule

        def interrupting(number: int) -> float:
            if number == step:
                action()
            return float(schedule(number))

        trainer.setup.schedule = interrupting

    return install


class Failure(Exception):
    """Something nobody foresaw."""


def fail() -> None:
    raise Failure


def test_the_run_is_reproducible(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    start_run(small_config(tmp_path)).train()
    assert outcome(tmp_path / "run") == uninterrupted
    assert [record["step"] for record in uninterrupted["metrics"]] == [1, 2, 3, 4, 6, 6, 7, 7]


@pytest.mark.parametrize("step", range(STEPS))
def test_interrupted_by_a_signal_at_any_step(tmp_path: Path, uninterrupted: dict[str, Any], step: int) -> None:
    run = start_run(small_config(tmp_path))
    at_step(step, lambda: os.kill(os.getpid(), signal.SIGINT))(run.trainer)
    with pytest.raises(Interrupted, match=f"after step {step + 1} of {STEPS}.*--resume {re.escape(str(run.run_dir))}"):
        run.train()
    resumed = resume_run(run.run_dir)
    assert resumed.trainer.state.step == step + 1
    resumed.train()
    assert outcome(run.run_dir) == uninterrupted


@pytest.mark.parametrize("step", range(STEPS))
def test_an_unforeseen_failure_at_any_step(tmp_path: Path, uninterrupted: dict[str, Any], step: int) -> None:
    run = start_run(small_config(tmp_path))
    at_step(step, fail)(run.trainer)
    with pytest.raises(Failure):
        run.train()
    before = tree(run.run_dir / "checkpoints")
    resumed = resume_run(run.run_dir)
    assert resumed.trainer.state.step == (4 if step >= 4 else 0)  # saved every 4 steps
    assert tree(run.run_dir / "checkpoints") == before
    resumed.train()
    assert outcome(run.run_dir) == uninterrupted


def test_interrupted_at_every_step_of_one_run(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    run = start_run(small_config(tmp_path))
    for step in range(STEPS):
        at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))(run.trainer)
        with pytest.raises(Interrupted) as caught:
            run.train()
        assert caught.value.exit_code == 143
        run = resume_run(run.run_dir)
    run.train()
    assert outcome(run.run_dir) == uninterrupted


def test_the_same_trainer_goes_on_after_an_interruption(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    run = start_run(small_config(tmp_path))
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGINT))(run.trainer)
    with pytest.raises(Interrupted):
        run.train()
    run.train()
    assert outcome(run.run_dir) == uninterrupted


def test_a_finished_run_can_be_finished_again(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    run = start_run(small_config(tmp_path))
    result = run.train()
    again = resume_run(run.run_dir).train()
    assert outcome(run.run_dir) == uninterrupted
    assert again.validation == result.validation
    assert again.sample == result.sample


_KILLED = """
import os, signal, sys
from pathlib import Path
from minitrain.runs import RunConfig, start_run
import minitrain.runs.run

where, count = sys.argv[2], int(sys.argv[3])
run = start_run(RunConfig.load(sys.argv[1]))

def dying(call):
    def counted(*args, **options):
        global count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return counted

if where == "step":
    run.trainer.setup.schedule = dying(run.trainer.setup.schedule)
else:
    setattr(os, where, dying(getattr(os, where)))
run.train()
"""


@pytest.mark.parametrize(
    ("where", "count", "step"),
    [
        ("step", 0, 0),
        ("step", 5, 4),
        ("fsync", 3, 0),  # in the first save: metrics, then three of its files are written
        ("rename", 0, 0),  # all of its files are there, under a temporary name
        ("rename", 1, 4),  # the second save, at the last step
    ],
)
def test_killed(tmp_path: Path, uninterrupted: dict[str, Any], where: str, count: int, step: int) -> None:
    """SIGKILL, in a process of its own: no handler runs, no file is closed."""
    config = small_config(tmp_path)
    config.save(tmp_path / "settings.yaml")
    arguments = [sys.executable, "-c", _KILLED, str(tmp_path / "settings.yaml"), where, str(count)]
    died = subprocess.run(arguments, capture_output=True, timeout=300, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    run = resume_run(tmp_path / "run")
    assert run.trainer.state.step == step
    run.train()
    assert outcome(run.run_dir) == uninterrupted
    assert not [path for path in (run.run_dir / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path, uninterrupted: dict[str, Any], name: str) -> None:
    run = start_run(small_config(tmp_path))
    run.train()
    damaged = run.run_dir / "checkpoints" / f"step-{STEPS:08d}" / name
    damaged.write_bytes(damaged.read_bytes()[:-3])
    told: list[str] = []
    resumed = resume_run(run.run_dir, warn=told.append)
    assert resumed.trainer.state.step == 4
    assert len(told) == 1
    assert str(damaged.parent) in told[0]
    resumed.train()
    assert outcome(run.run_dir) == uninterrupted


# Each part of the state matters: a run that goes on without it ends elsewhere.


def _interrupted(tmp_path: Path) -> Any:
    run = start_run(small_config(tmp_path))
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGINT))(run.trainer)
    with pytest.raises(Interrupted):
        run.train()
    return resume_run(run.run_dir)


def test_a_cold_start_differs_in_moments_and_weights(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    run = _interrupted(tmp_path)
    cold = run.trainer.optimizer.state_dict()
    run.trainer.optimizer.load_state_dict(
        {**cold, "step": 0, "moments": {name: np.zeros_like(array) for name, array in cold["moments"].items()}}
    )
    run.train()
    found = outcome(run.run_dir)
    assert found["weights"] != uninterrupted["weights"]
    assert found["moments"] != uninterrupted["moments"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda trainer: setattr(trainer.setup, "key", trainer.setup.key.fold("other")),
            {"weights", "moments", "metrics"},
        ),
        (lambda trainer: setattr(trainer.setup.data, "_key", trainer.setup.key), {"weights", "moments", "metrics"}),
        (lambda trainer: setattr(trainer.state, "window_loss", 0.0), {"metrics"}),
        (lambda trainer: setattr(trainer.state, "best_val_loss", 0.0), {"state"}),
    ],
    ids=["dropout key", "data order", "log window", "best loss"],
)
def test_the_comparison_sees_each_part_of_the_state(
    tmp_path: Path, uninterrupted: dict[str, Any], change: Callable[[Any], None], parts: set[str]
) -> None:
    run = _interrupted(tmp_path)
    change(run.trainer)
    run.train()
    found = outcome(run.run_dir)
    assert parts <= {name for name in found if found[name] != uninterrupted[name]}


def test_the_metrics_are_cut_where_the_checkpoint_was_made(tmp_path: Path) -> None:
    run = start_run(small_config(tmp_path))
    at_step(6, fail)(run.trainer)
    with pytest.raises(Failure):
        run.train()
    assert '"step": 6' in (run.run_dir / "metrics.jsonl").read_text()
    resumed = resume_run(run.run_dir)
    at_step(4, fail)(resumed.trainer)
    with pytest.raises(Failure):
        resumed.train()
    text = (run.run_dir / "metrics.jsonl").read_text()
    assert '"step": 4' in text
    assert '"step": 6' not in text


def test_lost_metrics_are_told_and_training_goes_on(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    run = start_run(small_config(tmp_path))
    at_step(4, fail)(run.trainer)
    with pytest.raises(Failure):
        run.train()
    (run.run_dir / "metrics.jsonl").write_text('{"step": 1}\n{"ste')
    told: list[str] = []
    resume_run(run.run_dir, warn=told.append).train()
    assert len(told) == 1
    assert "metrics.jsonl lacks records from before step 4" in told[0]
    found = outcome(run.run_dir)
    assert found["weights"] == uninterrupted["weights"]
    assert found["metrics"][0] == {"step": 1}
    assert found["metrics"][1:] == uninterrupted["metrics"][4:]


# What cannot be resumed, and what is said about it.


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    config = small_config(tmp_path, trainer_max_steps=3, trainer_save_every=1)
    start_run(config).train()
    return tmp_path / "run"


def _replace_in_config(run_dir: Path, **changes: Any) -> None:
    values = RunConfig.load(run_dir / "config.yaml").to_dict()
    values["model"] |= changes
    RunConfig.from_dict(values).save(run_dir / "config.yaml")


@pytest.mark.parametrize("load", [resume_run, load_run])
def test_a_checkpoint_of_another_model(saved: Path, load: Callable[[Path], Any]) -> None:
    before = tree(saved / "checkpoints")
    _replace_in_config(saved, n_embd=32)
    with pytest.raises(CheckpointError) as caught:
        load(saved)
    message = str(caught.value)
    assert re.search(r"tok_emb\.weight is \(\d+, 16\) .* in the checkpoint and \(\d+, 32\) .* in this model", message)
    assert "config.yaml" in message
    assert tree(saved / "checkpoints") == before


@pytest.mark.parametrize("load", [resume_run, load_run])
def test_a_checkpoint_of_a_smaller_model(saved: Path, load: Callable[[Path], Any]) -> None:
    _replace_in_config(saved, n_layer=3)
    with pytest.raises(CheckpointError, match=r"blocks\.2\.norm1\.weight is missing in the checkpoint"):
        load(saved)


def test_no_checkpoint_is_intact(saved: Path) -> None:
    for path in saved.glob("checkpoints/*/model.safetensors"):
        path.write_bytes(b"")
    told: list[str] = []
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints"):
        resume_run(saved, warn=told.append)
    assert len(told) == 3
    with pytest.raises(CheckpointError, match="none of its 3 checkpoints"):
        load_run(saved, warn=told.append)


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    run = start_run(small_config(tmp_path))
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_run(run.run_dir)
    assert resume_run(run.run_dir).trainer.state.step == 0


def test_not_a_run(tmp_path: Path) -> None:
    for load in (resume_run, load_run):
        with pytest.raises(CheckpointError, match="no run folder"):
            load(tmp_path / "nowhere")
        with pytest.raises(CheckpointError, match=r"has no config\.yaml"):
            load(tmp_path)


@pytest.mark.parametrize("name", ["data/train.bin", "data/val.bin", "data/val.json", "tokenizer.json"])
def test_damaged_data(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    content = content[:-9] if name.endswith(".json") else content
    (saved / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(saved / name.replace(".json", "")).split(".")[0])):
        resume_run(saved)


def test_data_of_another_run(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    start_run(small_config(tmp_path / "other", data_tokenizer="byte"))
    shutil.copytree(tmp_path / "other" / "run" / "data", saved / "data", dirs_exist_ok=True)
    with pytest.raises(DataError, match="they are of two runs"):
        resume_run(saved)


def test_a_checkpoint_without_a_trainers_state(saved: Path) -> None:
    run = resume_run(saved)
    state = run.trainer.model.state_dict(), run.trainer.optimizer.state_dict()
    run.trainer.checkpoints.save(Contents(9, *state, {"trainer": {"step": 9}, "callbacks": {}}))
    with pytest.raises(CheckpointError, match=r"step-00000009 was not saved by a trainer"):
        resume_run(saved)
    run.trainer.checkpoints.save(Contents(10, *state, {"trainer": [], "callbacks": {}, "metrics": {}}))
    with pytest.raises(CheckpointError, match=r"step-00000010 was not saved by a trainer"):
        resume_run(saved)
