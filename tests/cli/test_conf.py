"""Composing settings: the packaged groups and recipes, and every way an override can be wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minitrain.cli.compose import LITERAL, compose_config
from minitrain.conf import packaged_options
from minitrain.errors import ConfigError
from minitrain.runs.config import RunConfig
from minitrain.runs.recipes.options import config_groups
from minitrain.settings.tree import known_keys

GROUPS = config_groups()
RECIPES = GROUPS["recipe"]


def packaged(folder: Traversable | None = None) -> Iterator[Traversable]:
    for entry in (folder or resources.files("minitrain.conf")).iterdir():
        if entry.is_dir():
            yield from packaged(entry)
        elif entry.name.endswith(".yaml"):
            yield entry


def needed(recipe: str) -> list[str]:
    """What has to be given besides the recipe's name."""
    return ["data.path=text.txt"] if recipe.startswith("shakespeare") else []


def test_the_groups_are_the_documented_ones() -> None:
    assert sorted(GROUPS) == ["data", "generation", "model", "optimizer", "preset", "recipe", "scheduler", "trainer"]
    assert {"pydoc", "shakespeare_char", "tiny"} <= set(RECIPES)


def test_an_option_holds_only_what_differs_from_the_declared_defaults() -> None:
    for group in ("data", "optimizer"):
        for option in packaged_options(group):
            values = yaml.safe_load((resources.files("minitrain.conf") / group / f"{option}.yaml").read_text())
            given = {"path": "x"} if group == "data" else {}
            name = values.get("name", option)
            default = RunConfig.from_dict({group: {"name": name, **given}}).to_dict()[group]
            same = {key for key, value in values.items() if default[key] == value}
            assert same <= {"name", "path"}, option


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_composes_and_knows_its_name(recipe: str) -> None:
    assert compose_config([f"recipe={recipe}", *needed(recipe)]).recipe == recipe


def test_the_default_recipe_is_pydoc() -> None:
    assert compose_config([]) == compose_config(["recipe=pydoc"])


def test_shakespeare_char_is_nanogpts_recipe_for_a_cpu() -> None:
    config = compose_config(["recipe=shakespeare_char", "data.path=tinyshakespeare.txt"])
    model, data, optimizer, trainer = config.model, config.data, config.optimizer, config.trainer
    assert (model.n_layer, model.n_head, model.n_embd) == (4, 4, 128)
    assert (model.bias, model.dropout, model.tie_weights) == (False, 0.0, True)
    assert (data.block_size, data.tokenizer, data.val_fraction) == (64, "char", 0.1)
    assert (trainer.batch_size, trainer.gradient_accumulation_steps, trainer.max_steps) == (12, 1, 2000)
    assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == (0.9, 0.99, 0.1)
    assert (optimizer.learning_rate, config.scheduler.min_lr, config.scheduler.warmup_steps) == (1e-3, 1e-4, 100)
    assert (config.scheduler.name, trainer.max_grad_norm) == ("warmup_cosine", 1.0)


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_the_group() -> None:
    tiny = compose_config(["recipe=tiny"])
    assert tiny.model.n_layer != RunConfig().model.n_layer
    assert compose_config(["recipe=tiny", "model.n_layer=7"]).model.n_layer == 7
    assert compose_config(["model.n_layer=7", "recipe=tiny"]).model.n_layer == 7  # in any order
    assert compose_config(["recipe=tiny", "scheduler=constant"]).scheduler.name == "constant"


def is_usual(key: str) -> bool:
    """Whether the default configuration has this setting: other optimizers and schedules have more."""
    section, _, leaf = key.rpartition(".")
    return hasattr(getattr(RunConfig(), section) if section else RunConfig(), leaf)


def a_value_for(key: str) -> Any:
    section, _, leaf = key.rpartition(".")
    value = getattr(getattr(RunConfig(), section) if section else RunConfig(), leaf)
    value = list(value) if isinstance(value, tuple) else value
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else value


@pytest.mark.parametrize("key", [key for key in known_keys(RunConfig) if key != "recipe" and is_usual(key)])
def test_every_setting_of_the_dataclasses_can_be_given(key: str) -> None:
    section, _, leaf = key.rpartition(".")
    config = compose_config([f"{key}={a_value_for(key)}"])
    assert getattr(getattr(config, section) if section else config, leaf) == getattr(
        getattr(RunConfig(), section) if section else RunConfig(), leaf
    )


def test_composing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    monkeypatch.chdir(tmp_path)
    handlers = list(logging.getLogger().handlers)
    compose_config(["recipe=tiny"])
    assert (Path.cwd(), list(tmp_path.iterdir()), logging.getLogger().handlers) == (tmp_path, [], handlers)


def test_no_packaged_config_can_run_code() -> None:
    files = list(packaged())
    assert len(files) >= 7
    assert not [file.name for file in files if "_target_" in file.read_text()]


MISTAKES = {
    "unknown setting": ("model.n_hed=2", ["model.n_hed", "did you mean model.n_head?"]),
    "setting without its group": ("n_layer=2", ["n_layer", "did you mean model.n_layer?"]),
    "setting of the wrong group": ("trainer.dropout=0.1", ["trainer.dropout", "did you mean model.dropout?"]),
    "another trainer's name": ("lr=0.1", ["did you mean optimizer.learning_rate?"]),
    "setting below a setting": ("model.n_layer.x=1", ["unknown setting model.n_layer.x"]),
    "unknown option": ("recipe=tyny", ["there is no such recipe", "did you mean tiny?", "shakespeare_char"]),
    "option of no group": ("scheduler=cosine", ["there is no such scheduler", "warmup_cosine"]),
    "several options": ("scheduler=[constant,warmup_cosine]", ["give one name"]),
    "group as a dictionary": ("model={n_layer: 2}", ["give one name"]),
    "a word for a number": ("model.n_layer=two", ["model.n_layer must be a whole number, got 'two'"]),
    "a fraction for a whole number": ("trainer.max_steps=1.5", ["must be a whole number or null, got 1.5"]),
    "a truth for a number": ("model.n_layer=true", ["must be a whole number, got True"]),
    "a number for a truth": ("model.bias=1", ["model.bias must be true or false, got 1"]),
    "null where none fits": ("model.n_layer=null", ["must be a whole number, got null"]),
    "not a number": ("optimizer.learning_rate=nan", ["optimizer.learning_rate must be finite"]),
    "impossible combination": ("model.n_embd=130", ["model.n_embd = 130 is not a multiple of n_head = 4: try"]),
    "unknown name": ("data.tokenizer=chars", ["data.tokenizer", "did you mean 'char'?"]),
    "unknown device": ("device=gpu", ["device must be 'cpu', 'cuda'"]),
    "_target_ as a key": ("model._target_=os.system", ["_target_ is not allowed"]),
    "_target_ in a value": ("seed={_target_: os.system}", ["_target_ is not allowed"]),
    "no equals sign": ("seed", ["'seed' is not of the form key=value"]),
    "no value": ("seed=", ["seed= has no value"]),
    "no key": ("=3", ["not the name of a setting"]),
    "an addition": ("+model.depth=3", ["not added or removed", "model.depth=VALUE"]),
    "a removal": ("~seed", ["not added or removed"]),
    "a package": ("data@model=pydoc", ["'data@model' is not the name of a setting"]),
    "Hydra's own settings": ("hydra.run.dir=x", ["unknown setting hydra.run.dir"]),
    "Hydra's own groups": ("hydra/launcher=basic", ["'hydra/launcher' is not the name of a setting"]),
    "an unclosed list": ("seed=[1", ["cannot read seed=[1"]),
    "a sweep": ("seed=1,2", ["cannot read seed=1,2 (it gives several values, which --multirun takes)"]),
    "an unknown reference": ("seed=${nope}", ["seed: Interpolation key 'nope' not found"]),
    "a reference to itself": ("seed=${seed}", ["seed: Recursive interpolation"]),
    "a missing value": ("seed=???", ["seed has to be given"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line_that_says_what_to_change(name: str) -> None:
    override, expected = MISTAKES[name]
    with pytest.raises(ConfigError) as caught:
        compose_config([override])
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


def test_a_recipe_that_needs_a_text_says_so() -> None:
    with pytest.raises(ConfigError, match=r"data\.path has to be given; add data\.path=PATH"):
        compose_config(["recipe=shakespeare_char"])


def test_a_setting_may_refer_to_another() -> None:
    assert compose_config(["seed=${model.n_embd}", "model.n_embd=64"]).seed == 64


PATHS = ["a b.txt", "notes (1), final.txt", "C:\\texts\\", "x=1", "it's", "[a", "${seed}", "7"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_needs_no_quotes_but_the_shells(path: str) -> None:
    assert compose_config([f"data.path={path}"]).data.path == path


@given(st.text(st.sampled_from("\\'\"a${} ,[]=:?"), min_size=1, max_size=8), st.sampled_from(sorted(LITERAL)))
@settings(max_examples=50)
def test_a_path_keeps_every_character(path: str, key: str) -> None:
    assume(path.strip() and path not in ("???", "''", '""') and key != "init_from")
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "'\""
    group, _, name = key.rpartition(".")
    config = compose_config([f"{key}={path}"])
    assert getattr(getattr(config, group) if group else config, name) == (path[1:-1] if quoted else path)


@given(st.text(max_size=30))
@settings(max_examples=100)
def test_any_argument_gives_settings_or_a_config_error(argument: str) -> None:
    check_outcome([argument])


@given(st.sampled_from(known_keys(RunConfig)), st.text(max_size=12))
@settings(max_examples=100)
def test_any_value_gives_settings_or_a_config_error(key: str, value: str) -> None:
    check_outcome([f"{key}={value}"])


def check_outcome(arguments: list[str]) -> None:
    try:
        config = compose_config(arguments)
    except ConfigError as error:
        assert str(error)
    else:
        assert dataclasses.is_dataclass(config)
