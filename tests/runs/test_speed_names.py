"""What the speed of a training is called: tokens a second for language models, else targets, the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.losses import MeanSquaredError
from minitrain.models import MLPConfig, ViTConfig, build_model
from minitrain.models.seq2seq import Seq2Seq
from minitrain.nn import Linear
from minitrain.optim import AdamW
from minitrain.plotting import by_kind
from minitrain.runs import compare_runs, plot_run, start_run
from minitrain.training import Trainer, TrainingConfig
from minitrain.training.objective import counted_by
from tests.helpers.small_runs import small_config, tiny_trainer

SPEED = re.compile(r"[\d,]+ (\w+)/s\b")


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The titles of pictures by their names, in place of the pictures."""
    found: dict[str, str] = {}

    def keep(figure: Any, path: Path) -> None:
        path.touch()
        found[path.name] = figure.axes[0].get_title(loc="left")

    monkeypatch.setattr(by_kind, "save_figure", keep)
    return found


def classify(run_dir: Path) -> Trainer:
    """A trainer of a classifier, which counts no tokens."""
    model = build_model(MLPConfig((3, 4)))
    rng = np.random.default_rng(0)
    data = rng.standard_normal((32, 3)).astype(np.float32), rng.integers(0, 4, 32)
    config = TrainingConfig(batch_size=8, max_steps=3, log_every=1)
    return Trainer(model=model, optimizer=AdamW(model), train_data=data, config=config, run_dir=run_dir)


def test_a_run_on_a_text_has_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str], titles: dict[str, str]) -> None:
    result = start_run(small_config(tmp_path, trainer_log_every=1)).train()
    shown = capsys.readouterr().out
    assert set(SPEED.findall(shown)) == {"tokens"}
    assert SPEED.findall(result.describe()) == SPEED.findall(result.training.describe()) == ["tokens"]
    assert set(SPEED.findall(result.report.read_text())) == {"tokens"}
    assert titles["tokens_per_second.png"] == "tokens per second"
    titles.clear()
    plot_run(tmp_path / "run")
    assert titles["tokens_per_second.png"] == "tokens per second"


def test_a_language_model_in_python_has_tokens(tmp_path: Path, titles: dict[str, str]) -> None:
    trainer = tiny_trainer(tmp_path / "run", config=TrainingConfig(max_steps=3, log_every=1), progress=False)
    assert SPEED.findall(trainer.train().describe()) == ["tokens"]
    trainer.history.plot_history(tmp_path / "plots")
    assert titles["tokens_per_second.png"] == "tokens per second"


def test_a_classifier_has_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str], titles: dict[str, str]) -> None:
    trainer = classify(tmp_path / "run")
    result = trainer.train()
    assert set(SPEED.findall(capsys.readouterr().out)) == {"targets"}
    assert SPEED.findall(result.describe()) == ["targets"]
    for draw in (lambda: trainer.history.until(2).plot_history(tmp_path / "plots"), lambda: plot_run(tmp_path / "run")):
        titles.clear()
        draw()
        assert titles["tokens_per_second.png"] == "targets per second"


def test_a_comparison_has_the_name_that_fits_all_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainingConfig(max_steps=2, log_every=1)
    for name in ("text a", "text b"):
        tiny_trainer(tmp_path / name, config=config, progress=False).train()
    for name in ("class a", "class b"):
        classify(tmp_path / name).train()
    for names, speed, other in (
        (("text a", "text b"), "tokens/s", "targets/s"),
        (("class a", "class b"), "targets/s", "tokens/s"),
        (("text a", "class a"), "targets/s", "tokens/s"),
    ):
        rows = compare_runs([tmp_path / name for name in names]).rows
        assert speed in rows
        assert other not in rows
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "1000")  # runs of different kinds differ in every setting
    assert main(["compare", *(str(tmp_path / name) for name in ("class a", "class b", "text a", "text b"))]) == 0
    assert "targets/s" in capsys.readouterr().out


def test_what_models_count() -> None:
    assert [counted_by(build_model(name)) for name in ("gpt-nano", "llama-char")] == ["tokens"] * 2
    assert Seq2Seq.counts == "tokens"
    vit = ViTConfig(image_size=4, patch=2, n_classes=3, n_layer=1, n_head=1, n_embd=4)
    assert counted_by(build_model(vit)) == counted_by(build_model(MLPConfig((3, 4)))) == "targets"
    own = Linear(2, 1, np.random.default_rng(0))
    assert counted_by(own) == "targets"
    own.counts = "images"
    assert counted_by(own) == "images"


def test_a_model_says_what_it_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Linear(3, 1, np.random.default_rng(0))
    model.counts = "days"
    data = np.ones((8, 3), np.float32), np.ones((8, 1), np.float32)
    config = TrainingConfig(batch_size=4, max_steps=2, log_every=1)
    trainer = Trainer(model=model, optimizer=AdamW(model), loss_fn=MeanSquaredError(), train_data=data, config=config)
    assert SPEED.findall(trainer.train().describe()) == ["days"]
    assert set(SPEED.findall(capsys.readouterr().out)) == {"days"}
