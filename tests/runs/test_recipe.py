"""Recipes in Python: the settings that the command composes, and the same checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minitrain
from minitrain.cli.compose import compose_config
from minitrain.conf import packaged_options, packaged_values
from minitrain.errors import ConfigError
from minitrain.runs import RunConfig, recipe, start_run
from minitrain.runs.recipes.options import config_groups, language_presets
from minitrain.training import TrainingConfig
from tests.helpers.small_runs import TEXT

LANGUAGE = [name for name in packaged_options("recipe") if "task" not in packaged_values("recipe", name)]
OTHERS = [name for name in packaged_options("recipe") if name not in LANGUAGE]
CHANGES: dict[str, list[tuple[list[str], Any]]] = {
    "seed": [([], None), (["seed=7"], 7)],
    "preset": [([], None)] + [([f"preset={name}"], name) for name in language_presets()],
    "model": [
        ([], None),
        (["model=llama"], "llama"),
        (["model=llama", "model.n_layer=1"], {"name": "llama", "n_layer": 1}),
        (["model.n_layer=1"], {"n_layer": 1}),
    ],
    "optimizer": [([], None)]
    + [([f"optimizer={name}"], name) for name in config_groups()["optimizer"]]
    + [(["optimizer=sgd", "optimizer.learning_rate=0.5"], {"name": "sgd", "learning_rate": 0.5})],
    "scheduler": [([], None), (["scheduler=linear"], "linear"), (["scheduler.name=constant"], {"name": "constant"})],
    "trainer": [([], None), (["trainer.max_steps=3"], {"max_steps": 3})],
    "callbacks": [
        ([], None),
        (["callbacks=[{name: ema, decay: 0.5},throughput]"], [{"name": "ema", "decay": 0.5}, "throughput"]),
    ],
    "loss": [([], None), (["loss={name: focal, gamma: 1.0}"], {"name": "focal", "gamma": 1.0})],
}


@given(st.sampled_from(LANGUAGE), st.fixed_dictionaries({key: st.sampled_from(ways) for key, ways in CHANGES.items()}))
def test_a_recipe_has_the_settings_that_the_command_composes(name: str, drawn: dict[str, Any]) -> None:
    typed = [argument for arguments, _ in drawn.values() for argument in arguments]
    changes = {key: change for key, (_, change) in drawn.items() if change is not None}
    expected = compose_config([f"recipe={name}", "data.path=text.txt", *typed])
    assert recipe(name, data={"path": "text.txt"}, **changes) == expected


@pytest.mark.parametrize("name", OTHERS)
def test_a_recipe_of_another_task_has_its_task_and_its_parts(name: str) -> None:
    config = compose_config([f"recipe={name}", "trainer.max_steps=3"])
    assert recipe(name, trainer={"max_steps": 3}) == config
    assert config.task == packaged_values("recipe", name)["task"] != "language_model"
    assert RunConfig.from_dict(config.to_dict()) == config


def test_the_usual_recipe_is_that_of_the_command() -> None:
    assert recipe() == recipe("pydoc") == compose_config([])
    assert recipe(**{"trainer.max_steps": 7}) == compose_config(["trainer.max_steps=7"])


def test_a_run_with_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    config = recipe(
        "tiny",
        run_dir=str(tmp_path / "run"),
        data={"path": str(tmp_path / "text.txt"), "block_size": 8},
        model={"n_layer": 1, "n_embd": 8},
        trainer={"max_steps": 2, "batch_size": 4, "sample_tokens": 0},
    )
    with minitrain.use_kernels("reference"):
        run = start_run(config)
        assert run.trainer.train().step == 2
    assert run.config.recipe == "tiny"


def test_a_text_is_taken_as_it_stands() -> None:
    """The command resolves references in what is typed; a value in Python is a value."""
    place = "texts/${model.n_embd}/${oc.env:HOME}"
    config = recipe("tiny", data={"path": place}, callbacks=[{"name": "plots"}], generation={"prompt": place})
    assert (config.data.path, config.generation.prompt) == (place, place)


def test_a_whole_section_is_put_in_by_replace() -> None:
    section = TrainingConfig(max_steps=30)
    with pytest.raises(ConfigError, match=r"trainer must be a dictionary of settings .* dataclasses\.replace"):
        recipe("tiny", trainer=section)
    assert replace(recipe("tiny"), trainer=section).trainer == section


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("tinny", {}, "recipe='tinny' is unknown; did you mean 'tiny'"),
        (3, {}, "recipe=3 is unknown; known: bible, captioning, copy"),
        ("tiny", {"recipe": "pydoc"}, "as the first argument alone"),
        ("tiny", {"preset": "gpt-nono"}, "preset='gpt-nono' is unknown; did you mean 'gpt-nano'"),
        ("tiny", {"preset": 3}, "preset must be one of "),
        ("tiny", {"model": "lama"}, "model='lama' is unknown; did you mean 'llama'"),
        ("tiny", {"model": 3}, "model must be a dictionary of settings or the name of an option, got"),
        ("tiny", {"model": {"name": "lama"}}, "model.name='lama' is unknown; did you mean 'llama'"),
        ("tiny", {"model": {"n_layers": 3}}, "unknown setting model.n_layers; did you mean model.n_layer?"),
        ("tiny", {"model": {3: 3}}, "unknown setting model.3"),
        ("tiny", {"model": {"n_layer": 0}}, "model.n_layer"),
        ("tiny", {"optimizer": {"name": "sgd", "beta1": 0.9}}, "optimizer.beta1 is a setting of"),
        ("tiny", {"max_steps": 3}, "unknown setting max_steps"),
        ("tiny", {"trainer": {"max_steps": "long"}}, "trainer.max_steps"),
        ("tiny", {"callbacks": ["emma"]}, "'emma' is unknown; did you mean 'ema'"),
        ("shakespeare_char", {}, "data.path has to be given"),
    ],
)
def test_mistakes_are_told(name: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        recipe(name, **changes)
    assert says in str(error.value)
