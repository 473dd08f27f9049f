"""Callbacks from a configuration: names, settings and their errors; kept with a run and made again on resume."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from minitrain.cli import main
from minitrain.errors import ConfigError
from minitrain.records import read_metrics
from minitrain.runs import RunConfig, resume_run, start_run
from minitrain.training import CALLBACKS, EMA, Callback, EarlyStopping, Throughput, create_callbacks
from minitrain.training import callbacks as package
from minitrain.training.callbacks.registry import callback_settings
from tests.helpers.places import ROOT
from tests.helpers.small_runs import outcome, small_config


def test_names_and_settings_make_callbacks() -> None:
    stopping, again, throughput = create_callbacks(
        [{"name": "early_stopping", "patience": 3, "target": 1}, {"name": "early_stopping"}, "throughput"]
    )
    assert isinstance(stopping, EarlyStopping)
    assert isinstance(throughput, Throughput)
    assert (stopping.patience, stopping.target, stopping.mode) == (3, 1, "min")
    assert [one.name for one in (stopping, again, throughput)] == ["", "EarlyStopping-2", ""]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("emma", "callback.name='emma' is unknown; did you mean 'ema'? known: activation_statistics"),
        ({"name": "os.system"}, "callback.name='os.system' is unknown"),
        ({"name": "ema", "decy": 0.9}, "callback ema has no setting decy; did you mean decay?"),
        ({"name": "ema", "decay": "0.9"}, "callback ema: decay must be a number"),
        ({"name": "time_limit"}, "callback time_limit: seconds has to be given"),
        ({"name": "time_limit", "seconds": -1}, "TimeLimit: seconds=-1 must be above 0"),
        ({"name": "wandb", "mode": "ofline"}, "mode must be 'online' or 'offline' or 'disabled' or null"),
        ({"name": "activation_statistics", "batch": [1]}, "callback activation_statistics has no setting batch"),
        ({"decay": 0.9}, "the callback's configuration needs a name"),
        ({"name": "sample_generation", "every": 0}, "SampleGeneration: prompt="),
        ({"name": "plots", "every": -1}, "Plots: every=-1 must be 0"),
    ],
)
def test_mistakes_are_told(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        create_callbacks([config])
    with pytest.raises(ConfigError, match=re.escape(message)):
        RunConfig.from_dict({"callbacks": [config]})


@pytest.mark.parametrize("value", ["ema", {"name": "ema"}, 3, None, [3], [["ema"]]])
def test_callbacks_are_a_list(value: Any) -> None:
    with pytest.raises(ConfigError, match="callbacks must be a list in brackets, each entry a group in braces or text"):
        RunConfig.from_dict({"callbacks": value})


def test_every_callback_has_a_name_in_the_table() -> None:
    given = {kind for kind in vars(package).values() if isinstance(kind, type) and issubclass(kind, Callback)}
    made_by_the_run = {  # of a scheduler, of private training, and of a list of unwanted texts
        *(package.PlateauWatch, package.PrivacyBudget, package.CountUnwanted),
    }
    assert given - made_by_the_run == set(CALLBACKS.values())


def test_every_callback_is_documented_with_a_configuration_that_works() -> None:
    page = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| .* \| (?:`(.*)`)? ?\|$", page, re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == {name: kind.__name__ for name, kind in CALLBACKS.items()}
    for name, _, example in rows:
        if example:
            (callback,) = create_callbacks([yaml.safe_load(example)])
            assert type(callback) is CALLBACKS[name]


@pytest.mark.parametrize("name", sorted(CALLBACKS))
def test_defaults_are_a_valid_configuration(name: str) -> None:
    defaults = {key: setting.default for key, setting in callback_settings(name).items()}
    given = {"seconds": 3.0} if name == "time_limit" else {}
    (callback,) = create_callbacks([{"name": name, **defaults, **given}])
    assert type(callback) is CALLBACKS[name]


def test_a_config_keeps_its_callbacks(tmp_path: Path) -> None:
    config = RunConfig.from_dict({"callbacks": [{"name": "ema", "decay": 0.9}, "throughput"]})
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config != RunConfig()
    assert RunConfig.from_dict(config.to_dict()) == config


def test_a_run_is_resumed_with_its_callbacks(tmp_path: Path, no_pictures: None) -> None:
    named: Any = [{"name": "ema", "decay": 0.5}, "throughput", {"name": "sample_generation", "every": 2, "tokens": 5}]
    configs = [
        dataclasses.replace(small_config(tmp_path / name, trainer_save_every=3), callbacks=named)
        for name in ("whole", "broken")
    ]
    whole, broken = (start_run(config) for config in configs)
    whole.train()

    class Broken(Callback):
        def on_step_end(self, view: Any, update: Any) -> None:
            if view.step == 5:
                raise RuntimeError("the end")

    broken.trainer.callbacks.add(Broken())
    with pytest.raises(RuntimeError, match="the end"):
        broken.train()
    again = resume_run(broken.run_dir)
    assert again.trainer.state.step == 3
    assert isinstance(ema := again.trainer.callbacks.callbacks["EMA"], EMA)
    assert ema.decay == 0.5
    again.train()
    assert outcome(whole.run_dir) == outcome(again.run_dir)
    for step in (2, 4, 6):
        texts = [(run.run_dir / "samples" / f"step-{step:08d}.txt").read_bytes() for run in (whole, again)]
        assert texts[0] == texts[1]
    info = json.loads((whole.run_dir / "run.json").read_text())
    assert info["settings"] == json.loads(json.dumps(configs[0].to_dict()))
    assert "pool_bytes" in read_metrics(whole.run_dir / "metrics.jsonl")[0]


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "callbacks=[throughput,{name: ema, decay: 0.99}]", "--show"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["callbacks"] == ["throughput", {"name": "ema", "decay": 0.99}]
    assert main(["train", "callbacks=[{name: ema, decy: 0.99}]", "--show"]) == 2
    assert "did you mean decay?" in capsys.readouterr().err
    assert main(["train", "callbacks=[{name: ema, _target_: os.system}]", "--show"]) == 2
    assert "_target_ is not allowed" in capsys.readouterr().err
