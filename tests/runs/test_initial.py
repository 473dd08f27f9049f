"""Runs that start from the weights of another run or checkpoint, and runs that go on with other settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint
from minitrain.checkpoint.store import warn_user
from minitrain.errors import CheckpointError, ConfigError
from minitrain.runs import RunConfig, resume_run, start_run
from minitrain.runs.weights.initial import inherited_settings, load_initial
from minitrain.training import TrainingConfig
from tests.helpers.small_runs import STEPS, small_config, tiny_trainer

NEWEST = f"checkpoints/step-{STEPS:08d}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of seven steps."""
    run = start_run(small_config(tmp_path_factory.mktemp("first")))
    run.trainer.train()
    return Path(run.run_dir)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "copied")


def config_from(place: object, folder: Path, **changes: Any) -> RunConfig:
    return RunConfig.from_dict({**small_config(folder, **changes).to_dict(), "init_from": str(place)})


def assert_same(model: Any, weights: Any) -> None:
    assert model.state_dict().keys() == weights.keys()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])


@pytest.mark.parametrize("place", ["", NEWEST, "checkpoints/step-00000004"])
def test_a_run_starts_with_the_weights_of_another(trained: Path, tmp_path: Path, place: str) -> None:
    weights = read_checkpoint(trained / (place or NEWEST)).model
    run = start_run(config_from(trained / place, tmp_path))
    assert run.trainer.state.step == 0
    assert_same(run.trainer.model, weights)
    assert_same(resume_run(run.run_dir).trainer.model, weights)  # also if it was stopped at once
    run.trainer.train()
    assert run.trainer.state.step == STEPS


def test_weights_of_a_trainer_in_python(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path / "run", config=TrainingConfig(max_steps=2), progress=False)
    trainer.train()
    assert_same(trainer.model, load_initial(str(tmp_path / "run"), warn_user, {}).model)
    assert inherited_settings(str(tmp_path / "run")) == {}


def test_settings_of_the_model_are_taken_over(trained: Path, tmp_path: Path) -> None:
    config = RunConfig.load(trained / "config.yaml")
    taken = {
        "task": "language_model",
        "options": {"model": "gpt"},
        "model": config.model.to_dict(),
        "data": {"block_size": 8},
    }
    assert inherited_settings(str(trained)) == taken
    assert inherited_settings(str(trained / NEWEST)) == taken
    alone = shutil.copytree(trained / NEWEST, tmp_path / "a" / "b" / "alone")
    assert inherited_settings(str(alone)) == inherited_settings("s3://bucket/run") == {}
    assert load_initial(str(alone), warn_user, {}).step == STEPS


def test_weights_that_are_not_there(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    untrained = start_run(small_config(tmp_path / "untrained")).run_dir
    for place, says in (
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path / "empty", "neither a run folder nor a checkpoint"),
        (untrained, "no intact checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=says):
            start_run(config_from(place, tmp_path / "next"))
        assert not (tmp_path / "next" / "run").exists()
    with pytest.raises(CheckpointError):
        start_run(config_from(trained, tmp_path / "next", model_n_embd=32))
    assert not (tmp_path / "next" / "run").exists()


def test_a_run_that_never_had_its_initial_weights_is_started_again(trained: Path, tmp_path: Path) -> None:
    run = start_run(config_from(trained, tmp_path))
    shutil.rmtree(Path(run.run_dir) / "checkpoints")
    with pytest.raises(CheckpointError, match="before it had its initial weights"):
        resume_run(run.run_dir)


@pytest.mark.parametrize("changes", [{"trainer.max_steps": 9}, {"trainer.epochs": 1}], ids=["steps", "epochs"])
def test_a_finished_run_goes_on_longer(copied: Path, changes: dict[str, Any]) -> None:
    run = resume_run(copied, changes)
    assert run.trainer.total_steps > STEPS
    saved = RunConfig.load(copied / "config.yaml").trainer
    assert {"trainer.max_steps": saved.max_steps, "trainer.epochs": saved.epochs}.items() >= changes.items()
    run.trainer.train()
    assert run.trainer.state.step == run.trainer.total_steps


@pytest.mark.parametrize(
    ("changes", "says"), [({"seed": 4}, "seed cannot change"), ({"trainer.max_steps": 5}, "below the 7 steps")]
)
def test_a_change_that_does_not_fit_changes_nothing(copied: Path, changes: dict[str, Any], says: str) -> None:
    before = (copied / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=says):
        resume_run(copied, changes)
    assert (copied / "config.yaml").read_bytes() == before
