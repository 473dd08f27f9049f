"""The examples of CONTRIBUTING, each as a plugin of `minitrain train`: one file and one line."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from minitrain.cli import main
from minitrain.models import presets
from minitrain.optim import registry as optim
from minitrain.records import read_metrics
from minitrain.tasks.settings.model import MODELS
from minitrain.tasks.settings.objective import METRICS
from minitrain.training.callbacks import CALLBACKS

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
REGISTRIES = (CALLBACKS, optim.OPTIMIZERS, optim.SCHEDULERS, MODELS, METRICS)
SMALL = ["recipe=tiny", "data.path=text.txt", "trainer.max_steps=6", "trainer.log_every=1", "run_dir=run"]

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a text, and registries that are as before in the end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog and runs away from it\n" * 40)
    before, models = [dict(registry._registered) for registry in REGISTRIES], list(presets.MODELS)
    yield tmp_path
    for registry, names in zip(REGISTRIES, before, strict=True):
        registry._registered = names
    presets.MODELS[:] = models


def example(part: str) -> str:
    section = GUIDE.partition(f"## Add {part}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return code


def train(part: str, *settings: str) -> int:
    Path("own.py").write_text(example(part))
    return main(["train", *SMALL, *settings, "--plugin", "own.py"])


def test_a_callback(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("a callback", "callbacks=[{name: loss_below, limit: 99}]") == 0
    assert "the loss is below 99" in capsys.readouterr().out
    assert max(record["step"] for record in read_metrics("run/metrics.jsonl")) == 2, "after two records"
    assert train("a callback", "callbacks=[{name: loss_below, limits: 99}]", "run_dir=other") == 2
    assert "did you mean limit?" in capsys.readouterr().err


def test_a_tracker() -> None:
    assert train("a tracker", "callbacks=[{name: sqlite, database: own.db}]") == 0
    connection = sqlite3.connect("run/own.db")
    rows = connection.execute("SELECT step, value FROM metrics WHERE name = 'loss' ORDER BY step").fetchall()
    connection.close()
    records = [record for record in read_metrics("run/metrics.jsonl") if "loss" in record]
    assert rows == [(record["step"], record["loss"]) for record in records]


def test_a_metric() -> None:
    assert train("a metric", "metrics=[accuracy,top_3]") == 0
    last = [record for record in read_metrics("run/metrics.jsonl") if "val_loss" in record][-1]
    assert 0 <= last["val_accuracy"] <= last["val_top_3"] <= 1


def test_an_optimizer_and_a_schedule() -> None:
    assert train("an optimizer", "optimizer=mean_gradient", "optimizer.beta=0.5", "optimizer.learning_rate=0.1") == 0
    settings = ["scheduler=halving", "scheduler.parts=2", "scheduler.warmup_steps=0", "optimizer.learning_rate=0.1"]
    assert train("a schedule", *settings, "run_dir=halved") == 0
    rates = [record["lr"] for record in read_metrics("halved/metrics.jsonl") if "lr" in record]
    assert rates == pytest.approx([0.1] * 3 + [0.05] * 3)


def test_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("a model", "model=gated_gpt", "model.n_embd=16", "model.n_head=2") == 0
    assert main(["generate", "run", "--prompt", "the ", "--plugin", "own.py"]) == 0
    assert main(["train", "--resume", "run", "trainer.max_steps=8", "--plugin", "own.py"]) == 0
    capsys.readouterr()
    del MODELS._registered["gated_gpt"]
    assert main(["eval", "run"]) == 2, "without the plugin"
    assert "'gated_gpt' is unknown" in capsys.readouterr().err


def test_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example("a task"), "CONTRIBUTING.md", "exec"), {"__name__": "task"})
    last = [record for record in read_metrics("runs/parity/metrics.jsonl") if "val_loss" in record][-1]
    assert last["val_accuracy"] == 1.0
    assert main(["info", "runs/parity"]) == 0


@pytest.mark.parametrize("file", ["ops/norms/rms_norm.py", "nn/layers/rms_norm.py", "testing/cases/norms.py"])
def test_the_code_of_an_operation_is_that_of_the_library(file: str) -> None:
    sections = GUIDE.partition("## Add an operation\n")[2].partition("\n## Style")[0]
    source = (ROOT / "minitrain" / file).read_text(encoding="utf-8")
    assert sum(code.rstrip() in source for code in re.findall(r"```python\n(.*?)```", sections, flags=re.DOTALL)) == 1
