"""What the commands do for a user: help, presets, longer runs, weights of another run, plugins, runs made in Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import minitrain
from minitrain.checkpoint import read_checkpoint
from minitrain.cli import main
from minitrain.cli.compose import compose_config
from minitrain.cli.options.group_help import GROUPS
from minitrain.errors import ConfigError
from minitrain.records import read_metrics
from minitrain.runs import RunConfig
from minitrain.settings.tree import known_keys
from tests.helpers import small_runs
from tests.helpers.places import ROOT
from tests.helpers.small_runs import TEXT

SMALL = [*small_runs.SMALL, "trainer.log_every=1", "scheduler.warmup_steps=1"]

PARTS = ("callbacks", "loss", "metrics")
"""Settings whose help lists what is registered."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> Path:
    """A folder with a text; the readable code needs no compiler."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; returns what it printed, or its complaint if it failed as expected."""

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        with minitrain.use_kernels("reference"):
            assert main(arguments) == code, capsys.readouterr()
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return run


# Help


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in PARTS])
def test_help_of_a_group(group: str, call: Any) -> None:
    said = call("train", "--help", group)
    if group in ("task", "recipe", "preset"):
        assert {"task": "captioning", "recipe": "shakespeare_fast", "preset": "llama-baby"}[group] in said
        return
    shown = set(re.findall(r"^  ([\w.]+)=", said, re.MULTILINE))
    own = f"{group}." if group != "run" else ""
    defaults = compose_config([])
    section = defaults if group == "run" else getattr(defaults, group)
    keys = {
        f"{own}{name}"
        for name, value in section.to_dict().items()
        if group != "run" or name not in GROUPS or name in {*PARTS, "task"}
    }
    assert shown == keys - {"recipe"} | ({"recipe"} if group == "run" else set())


def test_help_names_what_is_right_for_the_settings_given(call: Any) -> None:
    said = call("train", "optimizer=lion", "optimizer.beta1=0.8", "--help", "optimizer")
    assert "optimizer.beta1=0.8" in said
    assert "at least 0 and below 1" in " ".join(said.split())
    assert "did you mean optimizer?" in call("train", "--help", "optimiser", code=2)
    said = call("train", "--help", "data")
    assert "between 0 and 1, both excluded" in " ".join(said.split())
    assert "shards" in said


def test_show_describes_every_setting(call: Any) -> None:
    said = call("train", "recipe=tiny", "callbacks=[throughput]", "--show")
    assert RunConfig.from_dict(yaml.safe_load(said)) == compose_config(["recipe=tiny", "callbacks=[throughput]"])
    for line in said.splitlines():
        assert not line.strip() or " # " in line, line


def test_every_setting_is_described() -> None:
    from minitrain.settings.tree import walk

    missing = {f"{section.__name__}.{one.name}" for _, section, one in walk(RunConfig) if not one.description}
    assert not missing


def test_the_settings_page_is_current() -> None:
    command = [sys.executable, "-m", "tools.settings_page"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == made, f"run {' '.join(command[1:])}"
    assert all(f"`{key.rpartition('.')[2]}`" in made for key in known_keys(RunConfig) if not key.endswith(".name"))


def test_presets_are_listed_alike(call: Any) -> None:
    from minitrain.cli.presets import other_presets, presets_in_words
    from minitrain.models.presets import PRESETS
    from minitrain.runs.recipes.options import language_presets

    assert {*language_presets(), *other_presets()} == set(PRESETS)
    for command in (["train", "--help", "preset"], ["profile", "--help"], ["info", "--help"]):
        assert presets_in_words() in call(*command)
    for command in (["train", "preset=gpt3"], ["profile", "xyz"], ["profile", "vit-tiny"]):
        assert all(name in call(*command, code=2) for name in language_presets())


def test_a_word_that_is_nothing_like_a_command(call: Any) -> None:
    assert "did you mean" not in call("export", code=2)
    assert "did you mean train?" in call("trian", code=2)


# Mistakes


def test_callbacks_that_are_no_list(call: Any) -> None:
    complaint = call("train", *SMALL, "callbacks={}", code=2)
    assert "callbacks must be a list in brackets, each entry a group in braces or text, got {}" in complaint
    assert "loss.name='fokal' is unknown; did you mean 'focal'?" in call("train", *SMALL, "loss=fokal", code=2)
    assert "metric.name='acuracy' is unknown; did you mean" in call("train", *SMALL, "metrics=[acuracy]", code=2)


IMPOSSIBLE = {
    "a wide model": ["model.n_embd=100000000"],
    "a deep model": ["model.n_layer=1000000000"],
    "a large batch": ["trainer.batch_size=100000000000"],
    "a wide and deep model": ["model.n_embd=100000", "model.n_layer=1000"],
    "a llama": ["model=llama", "model.n_hidden=100000000000"],
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_run_that_cannot_fit_is_refused_before_anything_is_built(name: str, call: Any, here: Path) -> None:
    complaint = call("train", *SMALL, *IMPOSSIBLE[name], "run_dir=run", code=2)
    assert re.search(r"needs at least [\d.]+ [TPEG]B of memory, and [\d.]+ [MGT]B are free", complaint)
    assert "trainer.batch_size" in complaint
    assert not (here / "run").exists()


def test_a_folder_with_an_impossible_model_is_refused(call: Any, here: Path) -> None:
    call("train", *SMALL, "run_dir=run")
    config = yaml.safe_load((here / "run/config.yaml").read_text())
    config["model"]["n_embd"] = 10**8
    (here / "run/config.yaml").write_text(yaml.safe_dump(config))
    for command in (["eval", "run"], ["generate", "run"], ["info", "run"], ["train", "--resume", "run"]):
        assert "are free" in call(*command, code=2)


SHAPES = [
    ["model=gpt", "model.bias=true", "model.n_kv_head=1"],
    ["model=gpt", "model.tie_weights=false", "model.n_layer=3"],
    ["model=llama"],
    ["model=llama", "model.qk_norm=true", "model.n_kv_head=1", "model.tie_weights=true", "model.n_hidden=24"],
]


@pytest.mark.parametrize("settings", SHAPES, ids=" ".join)
@pytest.mark.parametrize("checkpointing", ["true", "false"])
def test_the_least_need_is_true_and_near(settings: list[str], checkpointing: str, here: Path) -> None:
    from minitrain.runs import start_run
    from minitrain.tasks.text.need import least_need
    from minitrain.training import estimate

    sizes = ["model.n_embd=32", "trainer.batch_size=16", "data.block_size=32"]
    chosen = f"trainer.activation_checkpointing={checkpointing}"
    config = compose_config([*SMALL, *sizes, *settings, chosen, "run_dir=run"])
    run = start_run(config)
    need, measured = least_need(config, run.tokenizer.vocab_size), estimate(run.trainer)
    assert need.parameters == run.trainer.model.parameter_count()
    assert need.weights == measured.weights
    assert 0.3 * measured.activations < need.activations <= measured.activations


@pytest.mark.parametrize("steps", [1, 5, 30, 100])
def test_a_short_run_needs_no_other_setting(steps: int) -> None:
    for recipe in ([], ["recipe=tiny"], ["recipe=shakespeare_char", "data.path=x"]):
        config = compose_config([*recipe, f"trainer.max_steps={steps}", "optimizer.learning_rate=1e-5"])
        assert config.scheduler.for_run(1e-5, steps)["warmup_steps"] < steps
    with pytest.raises(ConfigError, match=r"scheduler\.warmup_steps \(30\) must be below"):
        compose_config(["trainer.max_steps=30", "scheduler.warmup_steps=30"])


# Runs that continue


def test_a_finished_run_is_trained_longer(call: Any, here: Path) -> None:
    call("train", *SMALL, "run_dir=run")
    before = {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()}
    said = call("train", "--resume", "run")
    assert "run is finished: all 6 steps are done" in said
    assert "trainer.max_steps=N" in said
    assert before == {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()}
    for setting in ("seed=1", "model.n_layer=2", "trainer.batch_size=8", "optimizer=sgd"):
        assert "cannot change in a run that has begun" in call("train", "--resume", "run", setting, code=2)
    assert "is below the 6 steps" in call("train", "--resume", "run", "trainer.max_steps=5", code=2)
    assert before == {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()}
    said = call("train", "--resume", "run", "trainer.max_steps=9", "trainer.save_every=1")
    assert "continuing after step 6 of 9" in said
    assert [record["step"] for record in read_metrics(here / "run/metrics.jsonl") if "loss" in record] == [
        *range(1, 10)
    ]
    assert RunConfig.load(here / "run/config.yaml").trainer.max_steps == 9
    assert (here / "run/checkpoints/step-00000009").is_dir()
    assert "all 9 steps are done" in call("train", "--resume", "run")


def weights(path: Path) -> dict[str, Any]:
    return dict(read_checkpoint(path).model)


def test_a_run_starts_from_the_weights_of_another(call: Any, here: Path) -> None:
    (here / "other.txt").write_text(TEXT[300:][::-1])
    call("train", *SMALL, "model.n_layer=2", "run_dir=run")
    last = weights(here / "run/checkpoints/step-00000006")
    for place in ("run", "run/checkpoints/step-00000006"):
        folder = here / f"new {place.count('/')}"
        # The shape of the model and the vocabulary are those of the run.
        call(
            "train",
            f"init_from={place}",
            "recipe=tiny",
            "data.path=other.txt",
            "trainer.max_steps=2",
            f"run_dir={folder}",
        )
        assert (folder / "tokenizer.json").read_bytes() == (here / "run/tokenizer.json").read_bytes()
        assert RunConfig.load(folder / "config.yaml").model.n_layer == 2
        first = read_checkpoint(folder / "checkpoints/step-00000000")
        for name, array in last.items():
            np.testing.assert_array_equal(first.model[name], array)
        assert not any(np.any(array) for array in first.optimizer["moments"].values()), "the optimizer is new"
        assert (folder / "checkpoints/step-00000002").is_dir()
    assert "another model" in call("train", *SMALL, "init_from=run", "model.n_embd=16", "run_dir=x", code=2)
    assert "no such folder" in call("train", *SMALL, "init_from=nowhere", "run_dir=x", code=2)
    assert "neither a run folder nor a checkpoint" in call("train", *SMALL, "init_from=.", "run_dir=x", code=2)
    assert not (here / "x").exists()


def test_another_text_is_evaluated(call: Any, here: Path) -> None:
    call("train", *SMALL, "run_dir=run")
    (here / "other.txt").write_text(TEXT[:500])
    (here / "strange.txt").write_text("€" * 500)
    own, other = call("eval", "run"), call("eval", "run", "--text", "other.txt")
    assert "validation, 499 tokens" in other
    assert "the model is as uncertain as if it chose uniformly among this many tokens" in own
    assert own != other
    assert "U+20AC" in call("eval", "run", "--text", "strange.txt", code=2)


def test_a_comparison_leaves_the_current_folder_alone(call: Any, here: Path) -> None:
    for name in ("[", "[b]old"):
        call("train", *SMALL, f"run_dir=all/{name}")
    (here / "all" / "[").rename(here / "all" / "[bold]x")
    names = ["all/[bold]x", "all/[b]old"]
    said = call("compare", *names)
    assert "[bold]x" in said
    assert "[b]old" in said
    assert (here / "all/comparison.png").exists()
    assert not list(here.glob("*.png"))
    call("compare", *names, "--out", "mine.png")
    assert (here / "mine.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_commands_work_with_closed_standard_streams(call: Any, here: Path) -> None:
    call("train", *SMALL, "run_dir=run")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MINITRAIN_KERNELS": "reference"}
    commands = ("info", "eval run", "plot run", "generate run --max-new-tokens 3", "train --help")
    every = [(command, "<&- >&- 2>&-") for command in commands]
    for command, closed in [*every, ("eval run", ">&-"), ("eval run", ">&- 2>&-"), ("train --help", ">&-")]:
        line = f"exec {sys.executable} -m minitrain {command} {closed}"
        done = subprocess.run(["sh", "-c", line], cwd=here, env=environment, capture_output=True, encoding="utf-8")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (command, closed)


# Plugins


PLUGIN = '''
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minitrain.models import GPT, GPTConfig
from minitrain.optim import SGD
from minitrain.optim.registry import register_optimizer
from minitrain.runs import register_loss, register_metric, register_model
from minitrain.losses import CrossEntropyLoss
from minitrain.training import Callback, register_callback


@register_callback("noting")
class Noting(Callback):
    """Writes a file when training ends.

    Args:
        text: what to write.
    """

    def __init__(self, text="x"):
        self.text = text

    def on_train_end(self, *_):
        Path("noted.txt").write_text(self.text)


@register_optimizer("slow")
class Slow(SGD):
    """Stochastic gradient descent under another name."""


@register_loss("twice")
class Twice(CrossEntropyLoss):
    """Cross-entropy under another name."""


@register_metric("certainty")
def certainty(outputs, batch):
    return float(outputs.max(axis=-1).sum()), float(outputs[..., 0].size)


@dataclass(frozen=True)
class MineConfig(GPTConfig):
    """A configuration of one's own.

    Attributes:
        extra: nothing.
    """

    extra: int = 3


@register_model("mine", MineConfig)
class Mine(GPT):
    def __init__(self, config, *, seed=0, dtype=np.float32):
        shape = {name: value for name, value in vars(config).items() if name != "extra"}
        super().__init__(GPTConfig(**shape), seed=seed, dtype=dtype)
'''


@pytest.fixture
def plugin(here: Path) -> Any:
    (here / "mine.py").write_text(PLUGIN)
    from minitrain.optim.registry import OPTIMIZERS
    from minitrain.tasks.settings.model import MODELS
    from minitrain.tasks.settings.objective import LOSSES, METRICS
    from minitrain.training.callbacks import CALLBACKS

    yield "mine.py"
    for registry, name in ((CALLBACKS, "noting"), (OPTIMIZERS, "slow"), (MODELS, "mine"), (LOSSES, "twice")):
        registry._registered.pop(name, None)
    METRICS._registered.pop("certainty", None)


OWN = [
    "callbacks=[{name: noting, text: done}]",
    "optimizer=slow",
    "optimizer.learning_rate=0.1",
    "loss=twice",
    "metrics=[accuracy,certainty]",
    "model=mine",
    "model.extra=4",
]


def test_a_plugin_offers_parts_of_your_own(plugin: str, call: Any, here: Path) -> None:
    said = call("train", *SMALL, *OWN, "run_dir=run", "--plugin", plugin)
    assert "this model" in said
    assert (here / "noted.txt").read_text() == "done"
    config = yaml.safe_load((here / "run/config.yaml").read_text())
    assert (config["optimizer"]["name"], config["model"]["extra"], config["loss"]) == ("slow", 4, "twice")
    last = [record for record in read_metrics(here / "run/metrics.jsonl") if "val_loss" in record][-1]
    assert 0 <= last["val_accuracy"] <= 1
    assert "val_certainty" in last
    assert "this model" in call("eval", "run", "--plugin", plugin)
    assert "all 6 steps are done" in call("train", "--resume", "run", "--plugin", plugin)


def test_a_configuration_loads_no_plugin(call: Any, here: Path) -> None:
    (here / "evil.py").write_text("open('proof', 'w')")
    for settings in (["callbacks=[evil]"], ["callbacks=[{name: evil.py}]"], ["plugin=evil.py"], ["optimizer=evil"]):
        call("train", *SMALL, *settings, code=2)
    assert not (here / "proof").exists()
    assert "there is no such file" in call("train", "--plugin", "nowhere.py", code=2)
    (here / "broken.py").write_text("1 / 0")
    assert "--plugin broken.py fails: ZeroDivisionError: division by zero" in call(
        "train", "--plugin", "broken.py", code=2
    )


# Runs made in Python


def python_run(folder: Path, **settings: Any) -> None:
    """A folder as a `Trainer` in Python leaves it."""
    tokens = np.arange(600) % 7
    model = minitrain.GPT(minitrain.GPTConfig(vocab_size=7, block_size=8, n_layer=1, n_head=2, n_embd=8))
    loader = minitrain.TokenLoader(tokens, block_size=8, batch_size=4, seed=0)
    from minitrain.training import Trainer, TrainingConfig

    config = TrainingConfig(max_steps=4, log_every=1)
    with minitrain.use_kernels("reference"):
        Trainer(model=model, train_data=loader, config=config, run_dir=folder, progress=False).train()
    if settings:
        (folder / "config.yaml").write_text(yaml.safe_dump({"kind": "python", **settings}))


GPT_SETTINGS = {
    "model": {"class": "GPT", "vocab_size": 7, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8},
    "trainer": {"max_steps": 4},
}


@pytest.mark.parametrize("settings", [{}, GPT_SETTINGS], ids=["run.json", "config.yaml"])
def test_a_run_made_in_python_works_with_the_commands(settings: Any, call: Any, here: Path) -> None:
    from minitrain.data import CharTokenizer

    python_run(here / "run", **settings)
    call("train", *SMALL, "run_dir=other")
    call("plot", "run")
    assert (here / "run/report.html").exists()
    assert "parameters" in call("info", "run")
    assert "validation loss" in call("compare", "run", "other")
    assert "trainer.resume() before trainer.train()" in call("train", "--resume", "run", code=2)
    assert "has no tokenizer.json" in call("generate", "run", code=2)
    (here / "run/tokenizer.json").write_text(json.dumps(CharTokenizer("abcdefg").to_json()))
    assert len(call("generate", "run", "--prompt", "abc", "--max-new-tokens", "5")) == 3 + 5 + 1
    (here / "some.txt").write_text("abcdefg" * 20)
    assert "this model" in call("eval", "run", "--text", "some.txt")
    assert "--text FILE" in call("eval", "run", code=2)


def test_a_model_of_your_own_is_loaded_into_it(call: Any, here: Path) -> None:
    from minitrain.runs import load_run

    python_run(here / "run", model={"class": "Unknown", "width": 3})
    assert "Unknown" in call("info", "run")
    assert "steps" in call("info", "run")
    assert "load_run(" in call("generate", "run", code=2)
    model = minitrain.GPT(minitrain.GPTConfig(vocab_size=7, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=5)
    loaded = load_run(here / "run", model=model)
    assert loaded.model is model
    assert loaded.step == 4
    for name, array in weights(here / "run/checkpoints/step-00000004").items():
        np.testing.assert_array_equal(model.state_dict()[name], array)
