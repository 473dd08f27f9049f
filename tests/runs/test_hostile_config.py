"""A configuration from somebody else, on the command line or in a file, can name what there is and run nothing."""

from __future__ import annotations

import importlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from minitrain.cli.compose import compose_config
from minitrain.errors import CheckpointError, ConfigError
from minitrain.runs import RunConfig, resume_run

CODE = "__import__('pathlib').Path('proof').touch()"

ARGUMENTS = {
    "a target for a group": ["model._target_=os.system"],
    "a target in a value": ["seed={_target_: os.system, command: touch proof}"],
    "a target for a callback": ["callbacks=[{_target_: os.system, command: touch proof}]"],
    "a callback by its path": ["callbacks=[os.system]"],
    "a target in a list": ["scheduler=multi_step", "scheduler.milestones=[{_target_: os.system}]"],
    "a name with a path": ["optimizer.name=os.system"],
    "a model by its path": ["model.name=minitrain.models.mlp.MLP"],
    "a model of another kind": ["model.name=MLP"],
    "a file for an option": ["model=../../../../etc/passwd"],
    "an absolute option": ["recipe=/etc/passwd"],
    "a package": ["model@hydra=gpt"],
    "another group of Hydra": ["hydra/launcher=basic"],
    "Hydra's folder": ["hydra.run.dir=proof"],
    "Hydra's search path": ["hydra.searchpath=[file:///tmp]"],
    "Hydra's help": ["hydra.help.template=${oc.env:HOME}"],
    "a reader of the environment": ["seed=${oc.env:HOME}"],
    "a reader of the environment that would fit": ["data.tokenizer=${oc.env:KIND}"],
    "a decoder of text": ["seed=${oc.decode:${oc.env:HOME}}"],
    "a class by a resolver": ["seed=${hydra:runtime.cwd}"],
    "a resolver of one's own": ["seed=${eval:1+1}"],
    "a default that resolves": ["seed=${oc.select:nope,${eval:1}}"],
    "a settings file": ["--config-dir=/tmp"],
    "a name that is a list": ["optimizer.name=[adamw]"],
    "a name that is a group": ["optimizer.name={_target_: os.system}"],
    "a key with dots": ["model.__class__.__init__=x"],
    "an attribute": ["model.__init__=x"],
    "a private attribute": ["trainer.prefix=x"],
    "a method": ["trainer.check=x"],
}


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Whatever would run code or a program fails the test, and no file named ``proof`` may appear."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"a config ran something: {arguments}")

    monkeypatch.chdir(tmp_path)
    for module, name in [(os, "system"), (os, "popen"), (subprocess, "Popen")]:
        monkeypatch.setattr(module, name, refuse)
    yield
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_name_what_there_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compose_config([])  # imports what it needs
    loaded = importlib.import_module
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", lambda *args: (asked.append(args[0]), loaded(*args))[1])
    monkeypatch.setenv("HOME", "7")
    monkeypatch.setenv("KIND", "byte")  # a value that nothing but the rule against it refuses
    with pytest.raises(ConfigError) as caught:
        compose_config(ARGUMENTS[name])
    assert "\n" not in str(caught.value)
    assert not [module for module in asked if not module.startswith(("hydra", "minitrain"))]


FILES = {
    "a Python object": f'seed: !!python/object/apply:builtins.exec ["{CODE}"]',
    "a new Python object": f'seed: !!python/object/new:os.system ["{CODE}"]',
    "a Python name": "seed: !!python/name:os.system",
    "a Python module": "!!python/module:os",
    "a tuple": "seed: !!python/tuple [1]",
    "a tag of one's own": "model: !Model {n_layer: 2}",
    "a target": "model: {_target_: os.system, command: touch proof}",
    "a target in a name": "optimizer: {name: {_target_: os.system}}",
    "a callback by its path": "callbacks: [os.system]",
    "a callback that is a target": "callbacks: [{name: ema, _target_: os.system}]",
    "a callback's setting that is a target": "callbacks: [{name: ema, decay: {_target_: os.system}}]",
    "an instance": "optimizer: !!python/object:minitrain.optim.AdamW {}",
    "a reference": "seed: ${oc.env:HOME}",
    "a key that is no text": "{1: 2}",
    "a key that is a list": "? [a]\n: 1",
    "a merge of itself": "a: &a\n  <<: *a",
    "a thousand brackets": "seed: " + "[" * 1000,
    "an alias of an alias": "\n".join(
        ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)), "seed: *a29"]
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_names_what_there_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FILES[name])
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        RunConfig.load(tmp_path / "config.yaml")
    with pytest.raises((ConfigError, CheckpointError)):
        resume_run(tmp_path)
