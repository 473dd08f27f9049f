"""A sweep over each task: every run trains, and the comparison names the measures of the task."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitrain.cli import main

SHORT = ["trainer.max_steps=2", "trainer.batch_size=8", "trainer.validation_frequency=0", "trainer.save_every=0"]
OF_TASK = {
    "sequence_to_sequence": (["recipe=copy", "model.n_embd=16", "model.n_layer=1"], "right %"),
    "classification": (["recipe=digits", "model.n_embd=16", "model.n_layer=1"], "accuracy %"),
    "contrastive": (["recipe=shapes", "data.size=8", "model.n_embd=16", "model.n_layer=1"], "text R@1 %"),
    "captioning": (["recipe=captioning", "data.size=8", "model.n_embd=16", "model.n_layer=1"], "right %"),
    "masked_language_model": (["recipe=masked", "model.n_embd=16", "model.n_layer=1"], "accuracy %"),
}


QUICK = ("classification",)


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=() if task in QUICK else pytest.mark.slow) for task in OF_TASK]
)
def test_a_sweep_trains_every_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, measure = OF_TASK[task]
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--multirun", *settings, *SHORT, "seed=1,2", "run_dir=sweep"]) == 0
    said = capsys.readouterr().out
    assert len(list((tmp_path / "sweep").glob("*/report.html"))) == 2
    assert measure in said
