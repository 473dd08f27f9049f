"""A run with parts of your own: what does not train needs no class that only a training calls."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import minitrain
from minitrain.cli import main
from minitrain.folder import RunFolder
from minitrain.optim.registry import OPTIMIZERS, SCHEDULERS
from minitrain.records import read_metrics
from minitrain.runs import load_run
from minitrain.runs.report import draw, smooths
from minitrain.tasks.settings.model import MODELS
from minitrain.tasks.settings.objective import LOSSES, METRICS
from minitrain.training.callbacks import CALLBACKS
from tests.helpers.small_runs import SMALL, TEXT

REGISTRIES = {
    "callback": CALLBACKS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULERS,
    "loss": LOSSES,
    "metric": METRICS,
    "model": MODELS,
}
SETTINGS = {
    "callback": ["callbacks=[throughput,{name: my_callback, times: 3}]"],
    "optimizer": ["optimizer=my_optimizer", "scheduler.min_lr=0.05", "optimizer.learning_rate=0.1"],
    "schedule": ["scheduler=my_schedule", "scheduler.warmup_steps=2"],
    "loss": ["loss=my_loss"],
    "metric": ["metrics=[accuracy,my_metric]"],
    "model": ["model=my_model", "model.label_smoothing=0.1"],
}
PLUGIN = '''
from dataclasses import dataclass

from minitrain.losses import CrossEntropyLoss
from minitrain.models import GPT, GPTConfig
from minitrain.optim import SGD, register_optimizer, register_schedule
from minitrain.optim.schedules import Drawn
from minitrain.runs import register_loss, register_metric, register_model
from minitrain.training import Callback, register_callback


@register_callback("my_callback")
class MyCallback(Callback):
    def __init__(self, times: int = 1) -> None:
        self.times = times


@register_optimizer("my_optimizer")
class MyOptimizer(SGD):
    """Stochastic gradient descent under another name."""


@register_schedule("my_schedule")
@dataclass(frozen=True)
class MySchedule(Drawn):
    """A constant rate under another name."""

    max_lr: float

    def __call__(self, step):
        return self.max_lr


@register_loss("my_loss")
class MyLoss(CrossEntropyLoss):
    """Cross-entropy under another name."""


@register_metric("my_metric")
def my_metric(outputs, batch):
    return float(outputs.max(axis=-1).sum()), float(outputs[..., 0].size)


@dataclass(frozen=True)
class MyConfig(GPTConfig):
    """A configuration of one's own."""


@register_model("my_model", MyConfig)
class MyModel(GPT):
    config_type = MyConfig
'''


def forget() -> None:
    """Unregister what the plugin registers, as in a process that did not load it."""
    for what, registry in REGISTRIES.items():
        registry._registered.pop(f"my_{what}", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run with a part of one's own, for each kind of part."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "text.txt").write_text(TEXT)
    (folder / "mine.py").write_text(PLUGIN)
    runs = {}
    with pytest.MonkeyPatch.context() as patch, minitrain.use_kernels("reference"):
        patch.chdir(folder)
        patch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())
        for what, settings in SETTINGS.items():
            assert main(["train", *SMALL, *settings, f"run_dir={what}", "--plugin", "mine.py"]) == 0
            runs[what] = folder / what
    forget()
    return runs


@pytest.fixture(params=SETTINGS)
def what(request: pytest.FixtureRequest) -> Any:
    """The kind of part that is one's own."""
    return request.param


@pytest.fixture
def run(trained: dict[str, Path], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A copy of the run of that kind, in the present folder."""
    shutil.copytree(trained[what], tmp_path / "run")
    shutil.copy(trained[what].parent / "text.txt", tmp_path)
    shutil.copy(trained[what].parent / "mine.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    with minitrain.use_kernels("reference"):
        yield "run"
    forget()


USES = {
    "eval": ["eval", "run"],
    "generate": ["generate", "run", "--prompt", "the ", "--max-new-tokens", "3"],
    "info": ["info", "run"],
    "init_from": ["train", *SMALL, "init_from=run", "run_dir=more"],
    "init_from a checkpoint": ["train", *SMALL, "init_from=run/checkpoints/step-00000006", "run_dir=more"],
}


@pytest.mark.parametrize("command", USES.values(), ids=USES)
def test_what_uses_the_model_needs_the_class_of_the_model_alone(
    run: str, what: str, command: list[str], capsys: pytest.CaptureFixture[str], no_pictures: None
) -> None:
    if what == "model":
        assert main(command) == 2
        assert "my_model' is unknown" in capsys.readouterr().err
        command = [*command, "--plugin", "mine.py"]
    assert main(command) == 0, capsys.readouterr().err


def test_curves_are_drawn_without_any_of_the_classes(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", run]) == 0
    assert "loss.png" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["callback"], indirect=True)
def test_the_settings_of_the_data_have_to_be_right(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = RunFolder(run).file("config.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "data": {"block_size": "wide"}}))
    assert main(["plot", run]) == 2
    assert "run/config.yaml: data.block_size must be" in capsys.readouterr().err


def test_training_on_needs_them_all(run: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", run, "trainer.max_steps=8"]) == 2
    assert f"my_{what}' is unknown" in (said := capsys.readouterr().err)
    assert "one of your own needs --plugin FILE" in said
    assert main(["train", "--resume", run, "trainer.max_steps=8", "--plugin", "mine.py"]) == 0


@pytest.mark.parametrize("what", ["callback", "metric"], indirect=True)
def test_known_parts_stay_in_the_settings(run: str, what: str) -> None:
    config = load_run(run).config
    assert config is not None
    assert (config.callbacks, config.metrics) == ((("throughput",), ()) if what == "callback" else ((), ("accuracy",)))


@pytest.mark.parametrize("what", ["model"], indirect=True)
def test_a_smoothed_loss_of_a_model_of_your_own_has_no_perplexity(run: str) -> None:
    assert smooths(Path(run))
    names = {path.name for path in draw(run, {})}
    assert "perplexity.png" in names  # of the validation, which is never smoothed
    assert any("val_loss" in record for record in read_metrics("run/metrics.jsonl"))


@pytest.mark.parametrize("what", ["callback"], indirect=True)
def test_other_mistakes_in_the_settings_are_told_as_before(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = RunFolder(run).file("config.yaml")
    values = yaml.safe_load(path.read_text())
    for wrong, says in (
        ({"callbacks": [{"name": "ema", "decay": "much"}]}, "decay"),
        ({"callbacks": [3]}, "callbacks"),
        ({"callbacks": "my_callback"}, "callbacks"),
        ({"callbacks": [{"times": 3}]}, "needs a name"),
        ({"metrics": ["my_metric", 3]}, "metrics"),
        ({"loss": {"settings": 1}}, "needs a name"),
        ({"optimizer": {"name": ["sgd"]}}, "optimizer.name must be text"),
        ({"optimizer": {"name": "sgd", "momentum": "much"}}, "momentum"),
    ):
        path.write_text(yaml.safe_dump({**values, **wrong}))
        assert main(["eval", run]) == 2, wrong
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("what", ["callback"], indirect=True)
def test_a_package_that_does_not_load_is_no_obstacle(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("my_callback", "no_such_package_of_mine:Callback", "minitrain.callbacks")
    monkeypatch.setattr(CALLBACKS, "_installed", {"my_callback": entry})
    assert main(["eval", run]) == 0
