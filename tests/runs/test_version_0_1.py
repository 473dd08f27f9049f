"""Run folders and checkpoints that version 0.1 wrote still load, resume, evaluate, compare and plot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from minitrain.checkpoint import read_checkpoint, verify_checkpoint
from minitrain.cli import main
from minitrain.records import read_metrics
from minitrain.runs import compare_runs, evaluate_run, load_run, plot_run, resume_run
from tests.helpers.places import FIXTURES
from tests.helpers.small_runs import tree

FILES = FIXTURES / "version_0_1"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FILES, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_the_fixture_is_small_and_of_its_version() -> None:
    for run in ("finished", "interrupted", "checkpoint"):
        assert sum(path.stat().st_size for path in (FILES / run).rglob("*") if path.is_file()) < 150_000
    manifest = json.loads((FILES / "checkpoint" / "manifest.json").read_bytes())
    assert manifest["version"] == 2
    assert "metrics" in json.loads((FILES / "checkpoint" / "state.json").read_bytes())["state"]


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(runs: Path, no_pictures: None) -> None:
    run = resume_run(runs / "interrupted")
    assert run.trainer.state.step == 4
    assert run.trainer.history.get_steps("train_loss") == [1, 2, 3, 4]
    result = run.train()
    ours = read_checkpoint(runs / "interrupted" / "checkpoints" / "step-00000008")
    theirs = read_checkpoint(runs / "finished" / "checkpoints" / "step-00000008")
    for name, array in theirs.model.items():  # kernels may round otherwise than those of version 0.1
        np.testing.assert_allclose(ours.model[name], array, rtol=1e-4, atol=1e-5)
    losses = [record["loss"] for record in read_metrics(runs / "interrupted" / "metrics.jsonl") if "loss" in record]
    expected = [record["loss"] for record in read_metrics(runs / "finished" / "metrics.jsonl") if "loss" in record]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert len((runs / "interrupted" / "metrics.csv").read_text().splitlines()) == len(
        (runs / "finished" / "metrics.csv").read_text().splitlines()
    )
    assert result.report.exists()


def test_a_finished_run_can_be_used(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(runs / "finished")
    last = [record for record in read_metrics(runs / "finished" / "metrics.jsonl") if "val_loss" in record][-1]
    model, tokenizer, config, step = load_run(runs / "finished")
    assert (step, config.model.n_embd, tokenizer.vocab_size) == (8, 8, 29)
    assert model.parameter_count() > 0
    # The run validated with averaged weights, the command evaluates the trained ones.
    assert evaluate_run(runs / "finished").loss == pytest.approx(last["val_loss"], abs=0.1)
    comparison = compare_runs([runs / "finished", runs / "interrupted"])
    assert comparison.rows["steps"] == ["8", "6"]
    assert main(["generate", str(runs / "finished"), "--max-new-tokens", "3"]) == 0
    assert main(["info", str(runs / "finished")]) == 0
    assert tree(runs / "finished") == before
    assert all(picture.exists() for picture in plot_run(runs / "finished"))


def test_a_bare_checkpoint_is_read(runs: Path) -> None:
    assert verify_checkpoint(runs / "checkpoint") == 8
    checkpoint = read_checkpoint(runs / "checkpoint")
    run = resume_run(runs / "interrupted")
    run.trainer.load_checkpoint(runs / "checkpoint")
    assert run.trainer.state.step == 8
    assert run.trainer.history.get_steps("train_loss") == [*range(1, 9)]  # it brought its history with it
    for name, array in run.trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, checkpoint.model[name])
