"""Settings: what is accepted, and what is said about what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.files import FileError
from minitrain.runs import RunConfig
from minitrain.settings import tree
from minitrain.training import TrainingConfig
from tests.helpers.small_runs import DOCUMENTED_DEFAULTS


def test_dictionary_and_yaml_give_back_the_same_config(tmp_path: Path) -> None:
    config = RunConfig.from_dict(
        {
            "seed": 7,
            "data": {"path": "Grüße: 1, 'x'", "tokenizer": "byte"},
            "optimizer": {"learning_rate": 3, "eps": 1e-12},
            "trainer": {"max_grad_norm": None, "eval_batches": 4},
        }
    )
    config.save(tmp_path / "config.yaml")
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig.load(tmp_path / "config.yaml") == config


def test_every_setting_is_named_once() -> None:
    keys = tree.known_keys(RunConfig)
    assert len(set(keys)) == len(keys)
    assert {"seed", "model.n_layer", "trainer.max_steps"} <= set(keys)
    flat = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in RunConfig().to_dict().items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert flat <= set(keys)  # which has those of all optimizers and schedules


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"trainer": {"max_step": 3}}, ["trainer.max_step", "did you mean trainer.max_steps?"]),
        ({"model": {"block_size": 3}}, ["model.block_size", "did you mean data.block_size?"]),
        ({"learning_rate": 1}, ["did you mean optimizer.learning_rate?"]),
        ({"modle": {}}, ["modle", "did you mean model?"]),
        ({"trainer": {"zzz": 3}}, ["trainer.zzz", "trainer.log_every"]),
        ({"trainer": 3}, ["trainer must be a group of settings", "3"]),
        ({"trainer": {"max_steps": True}}, ["trainer.max_steps", "a whole number", "True"]),
        ({"trainer": {"max_steps": 1.5}}, ["trainer.max_steps", "a whole number", "1.5"]),
        ({"trainer": {"max_steps": 0}}, ["trainer.max_steps", "at least 1", "0"]),
        ({"trainer": {"max_grad_norm": "x"}}, ["trainer.max_grad_norm", "a number or null"]),
        ({"trainer": {"max_grad_norm": 0.0}}, ["trainer.max_grad_norm", "above 0"]),
        ({"trainer": {"gradient_accumulation_steps": 33}}, ["trainer.gradient_accumulation_steps", "batch_size (32)"]),
        (
            {"trainer": {"max_steps": 100}, "scheduler": {"warmup_steps": 100}},
            ["scheduler.warmup_steps (100)", "scheduler.warmup_steps=10"],
        ),
        ({"optimizer": {"learning_rate": "1e-3"}}, ["optimizer.learning_rate", "'1e-3'", "1.0e-3"]),
        ({"optimizer": {"learning_rate": float("nan")}}, ["optimizer.learning_rate", "finite"]),
        (
            {"optimizer": {"learning_rate": 1e-5}, "scheduler": {"min_lr": 1e-4}, "trainer": {"max_steps": 9}},
            ["scheduler.min_lr", "optimizer.learning_rate (1e-05)"],
        ),
        ({"optimizer": {"beta1": 1.0}}, ["optimizer.beta1", "below 1"]),
        ({"optimizer": {"name": "adamww"}}, ["optimizer.name='adamww'", "did you mean 'adamw'?"]),
        ({"scheduler": {"name": "cosine"}}, ["scheduler.name='cosine'", "warmup_cosine", "constant"]),
        ({"data": {"tokenizer": "chars"}}, ["data.tokenizer='chars'", "did you mean 'char'?"]),
        ({"data": {"val_fraction": 1.0}}, ["data.val_fraction", "between 0 and 1"]),
        ({"model": {"n_embd": 30}}, ["model.n_embd = 30 is not a multiple of n_head = 4"]),
        ({"model": {"n_kv_head": 3}}, ["model.n_kv_head = 3 does not divide n_head = 4"]),
        ({"model": {"loss_chunk": 0}}, ["model.loss_chunk = 0 must be 1 or more"]),
        ({"model": {"dropout": 1}}, ["model.dropout = 1 must be at least 0 and less than 1"]),
        ({"model": {"bias": 1}}, ["model.bias", "true or false"]),
        ({"device": "gpu"}, ["device", "'cuda'", "'gpu'"]),
        ({"seed": -1}, ["seed", "at least 0"]),
        ({"run_dir": "a\0b"}, ["run_dir", "no NUL character", "a\\x00b"]),
        ({"data": {"path": "a\0b"}}, ["data.path", "no NUL character"]),
    ],
)
def test_errors_name_the_setting_and_what_would_be_right(values: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(values)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_checks_also_guard_the_constructors_and_assignments() -> None:
    with pytest.raises(ConfigError, match=r"^batch_size must be at least 1, got 0"):
        TrainingConfig(batch_size=0)
    config = TrainingConfig(batch_size=4)
    config.epochs = 3
    assert (config.epochs, config) == (3, TrainingConfig(batch_size=4, epochs=3))
    for name, value, message in [
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("batch_size", "8", r"batch_size must be a whole number, got '8'"),
        ("gradient_accumulation_steps", 5, r"gradient_accumulation_steps must be at most batch_size \(4\)"),
        ("epoch", 3, "TrainingConfig has no setting epoch; did you mean epochs?"),
    ]:
        with pytest.raises(ConfigError, match=message):
            setattr(config, name, value)
    assert config == TrainingConfig(batch_size=4, epochs=3), "what fails changes nothing"


def test_an_unknown_argument_is_told_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"TrainingConfig has no setting epoch; did you mean epochs\?"):
        TrainingConfig(epoch=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"RunConfig has no setting sead; did you mean seed\?"):
        RunConfig(sead=3)  # type: ignore[call-arg]


def test_settings_for_python_are_in_no_configuration() -> None:
    assert not {"learning_rate", "checkpoint_dir", "resume_from"} & RunConfig().to_dict()["trainer"].keys()
    assert "trainer.resume_from" not in tree.known_keys(RunConfig)
    with pytest.raises(ConfigError, match=r"did you mean optimizer\.learning_rate\?"):
        RunConfig.from_dict({"trainer": {"learning_rate": 1.0}})


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (9, 1), (50, 5), (1000, 100), (5000, 100)])
def test_a_warm_up_that_was_not_given_fits_the_run(steps: int, warmup: int) -> None:
    config = RunConfig.from_dict({"trainer": {"max_steps": steps}, "optimizer": {"learning_rate": 1e-6}})
    filled = config.scheduler.for_run(1e-6, steps)
    assert (filled["warmup_steps"], filled["min_lr"]) == (warmup, pytest.approx(1e-7))


def test_unknown_key_error_knows_nothing_near() -> None:
    assert "known: " in str(tree.unknown_key_error("qqqqqq", RunConfig))


_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
_names = st.sampled_from(sorted({part for key in tree.known_keys(RunConfig) for part in key.split(".")})) | st.text(
    max_size=5
)
_dictionaries = st.dictionaries(_names, _values | st.dictionaries(_names, _values, max_size=3), max_size=4)


@given(_dictionaries)
def test_nothing_but_a_config_or_a_config_error_comes_out(values: dict[str, Any]) -> None:
    try:
        config = RunConfig.from_dict(values)
    except ConfigError:
        return
    assert RunConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"seed: [1", "is not a YAML file"),
        (b"\xff\xfe", "is not a YAML file"),
        (b"- 1\n- 2\n", "must hold settings"),
        (b"", "must hold settings"),
        (b"trainer:\n  max_step: 3\n", "trainer.max_steps"),
        (b"seed: !!python/object/apply:builtins.open ['proof', 'w']\n", "is not a YAML file"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, part: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        RunConfig.load(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)
    assert not (tmp_path / "proof").exists()  # a config runs no code


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere\.yaml"):
        RunConfig.load(tmp_path / "nowhere.yaml")


def test_the_reference_documents_training_config() -> None:
    from minitrain.compat.tisslm import TrainingConfig as Documented

    wanted = DOCUMENTED_DEFAULTS | {"checkpoint_dir": "checkpoints"}
    assert {name: getattr(Documented(), name) for name in wanted} == wanted
    own = TrainingConfig()
    assert {name: getattr(own, name) for name in wanted} == wanted | {"checkpoint_dir": None}
    assert isinstance(Documented(), TrainingConfig)


def test_true_for_one_of_a_few_words_names_the_words() -> None:
    with pytest.raises(ConfigError, match=r"trainer.graphs must be one of auto, on, off, got True \(bool\); in YAML"):
        RunConfig.from_dict({"trainer": {"graphs": True}})
    with pytest.raises(ConfigError, match=r"distributed must be one of processes, ray, got False \(bool\)$"):
        RunConfig.from_dict({"distributed": False})


def test_failures_are_counted_with_ray_alone() -> None:
    assert RunConfig.from_dict({"distributed": "ray", "max_failures": 2}).max_failures == 2
    for engine in (None, "processes"):
        with pytest.raises(ConfigError, match=r"max_failures must be 0 without distributed=ray.*got 2"):
            RunConfig.from_dict({"distributed": engine, "max_failures": 2})
