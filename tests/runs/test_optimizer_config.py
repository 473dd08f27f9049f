"""Optimizers and schedules in a run's configuration: sections, packaged options, recipes, old files."""

import shutil
from pathlib import Path

import pytest
import yaml

from minitrain.cli.compose import compose_config
from minitrain.errors import ConfigError
from minitrain.optim import create_optimizer
from minitrain.optim.factory import optimizer_settings
from minitrain.optim.registry import OPTIMIZERS, SCHEDULERS
from minitrain.records import read_metrics
from minitrain.runs import AdamWConfig, OptimizerConfig, RunConfig, SchedulerConfig, resume_run, start_run
from minitrain.runs.optimizer_config import OPTIMIZER_CONFIGS, SCHEDULER_CONFIGS
from minitrain.runs.recipes.options import config_groups
from minitrain.settings.section import settings
from minitrain.settings.tree import known_keys
from minitrain.training import PlateauWatch
from tests.helpers.small_runs import outcome, small_config

CHOICES = {"optimizer": OPTIMIZER_CONFIGS, "scheduler": SCHEDULER_CONFIGS}
OPTIONS = [(group, name) for group, sections in CHOICES.items() for name in sections]


def test_the_packaged_options_are_the_tables():
    assert config_groups()["optimizer"] == sorted(OPTIMIZERS)
    assert config_groups()["scheduler"] == sorted(SCHEDULERS)


def written(value):
    """A value as it is typed."""
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_all_settings_of_an_option_can_be_given_with_any_recipe(group, name, tmp_path: Path):
    defaults = {key: getattr(CHOICES[group][name](), key) for key in settings(CHOICES[group][name])}
    given = [f"{group}.{key}={written(value)}" for key, value in defaults.items()]
    config = compose_config(["recipe=tiny", "trainer.max_steps=500", f"{group}={name}", *given])
    assert type(getattr(config, group)) is CHOICES[group][name]
    assert {key: getattr(getattr(config, group), key) for key in defaults} == defaults
    assert {f"{group}.{key}" for key in defaults} <= set(known_keys(RunConfig))
    config.save(tmp_path / "config.yaml")
    assert RunConfig.load(tmp_path / "config.yaml") == config


def test_a_recipes_settings_for_another_option_fall_away():
    config = compose_config(["recipe=shakespeare_char", "data.path=x", "optimizer=sgd", "scheduler=one_cycle"])
    assert config.optimizer.name == "sgd"
    assert config.optimizer.weight_decay == 0.1  # SGD has that too
    assert not hasattr(config.optimizer, "beta1")
    assert config.scheduler.name == "one_cycle"


def test_lists_on_the_command_line():
    config = compose_config(["recipe=tiny", "scheduler=multi_step", "scheduler.milestones=[5,9]"])
    assert config.scheduler.milestones == (5, 9)
    config = compose_config(["optimizer=muon", "optimizer.adamw_params=['*emb*']"])
    assert config.optimizer.adamw_params == ("*emb*",)


MISTAKES = {
    "another's setting": (
        ["optimizer.momentum=0.9"],
        "optimizer.momentum is a setting of muon, rmsprop, sgd, not of",
    ),
    "another's, chosen": (
        ["optimizer=lion", "optimizer.eps=1"],
        "optimizer.eps is a setting of .*adamw.* not of lion",
    ),
    "no setting": (
        ["optimizer=muon", "optimizer.momentums=1"],
        r"momentums; did you mean optimizer.momentum\?",
    ),
    "out of range": (
        ["optimizer=lion", "optimizer.beta1=1.5"],
        "optimizer.beta1 must be at least 0 and below 1, got",
    ),
    "does not go together": (
        ["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"],
        "SGD: nesterov needs a momentum above 0",
    ),
    "no choice": (
        ["optimizer=muon", "optimizer.adjust_lr_fn=x"],
        "must be 'original' or 'match_rms_adamw', got 'x'",
    ),
    "does not fit": (
        ["scheduler=warmup_stable_decay", "scheduler.decay_steps=5000"],
        "scheduler=warmup_stable_decay does not fit: warmup_steps = 100 and decay_steps = 5000 must fit in the 1500",
    ),
    "out of a schedule's range": (["scheduler=step", "scheduler.step_size=0"], "StepDecay: step_size = 0 must be more"),
    "negative": (["scheduler.warmup_steps=-1"], "scheduler.warmup_steps must be null or at least 0, got -1"),
    "unknown name": (["optimizer.name=lyon"], r"optimizer.name='lyon' is unknown; did you mean 'lion'\?"),
    "no name": (["optimizer.name=null"], "optimizer.name must be text, got null"),
    "unknown option": (["optimizer=mun"], r"there is no such optimizer; did you mean muon\?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name):
    arguments, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        compose_config(arguments)


def test_a_section_is_checked_when_it_is_made():
    with pytest.raises(ConfigError, match=r"optimizer\.weight_decay must be 0 or more, got -1"):
        AdamWConfig(weight_decay=-1)
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate must be above 0, got 0"):
        OPTIMIZER_CONFIGS["sgd"](learning_rate=0)
    with pytest.raises(ConfigError, match=r"optimizer\.name='sgd' is unknown; known: adamw"):
        AdamWConfig(name="sgd")
    assert issubclass(AdamWConfig, OptimizerConfig)
    assert issubclass(SCHEDULER_CONFIGS["constant"], SchedulerConfig)


def test_files_of_earlier_versions_load():
    """They name all settings of AdamW, and give the constant rate a floor that it never used."""
    old = {
        "optimizer": {
            "name": "adamw",
            "learning_rate": 2e-3,
            "beta1": 0.9,
            "beta2": 0.99,
            "eps": 1e-8,
            "weight_decay": 0.1,
        },
        "scheduler": {"name": "constant", "warmup_steps": 100, "min_lr": 1e-4},
    }
    config = RunConfig.from_dict(old)
    assert config.optimizer == AdamWConfig(learning_rate=2e-3, beta2=0.99, weight_decay=0.1)
    assert config.scheduler == SCHEDULER_CONFIGS["constant"](warmup_steps=100)
    assert RunConfig.from_dict({"optimizer": {"learning_rate": 2e-3}}).optimizer == AdamWConfig(learning_rate=2e-3)


def test_the_defaults_of_optimizers_are_those_of_their_signatures():
    for name, kind in OPTIMIZERS.items():
        own = {key: one.default for key, one in optimizer_settings(name).items()}
        assert {key: getattr(OPTIMIZER_CONFIGS[name](), key) for key in own} == own, kind


@pytest.mark.parametrize("name", SCHEDULER_CONFIGS)
@pytest.mark.parametrize("steps", [4, 7, 40])
def test_every_schedule_fits_a_short_run_by_itself(name, steps):
    config = compose_config([f"scheduler={name}", f"trainer.max_steps={steps}", "optimizer.learning_rate=1e-6"])
    assert config.scheduler.name == name


def test_what_the_command_line_sets_for_an_optimizer_is_in_its_file():
    assert compose_config([]).optimizer == AdamWConfig(learning_rate=2e-3, beta2=0.99, weight_decay=0.1)
    assert compose_config(["optimizer=muon"]).optimizer.adjust_lr_fn == "match_rms_adamw"
    assert compose_config(["optimizer.name=sgd"]).optimizer.momentum == 0.9


@pytest.mark.parametrize("name", OPTIMIZER_CONFIGS)
def test_a_section_makes_its_optimizer(name):
    from minitrain.models.gpt import GPT, GPTConfig

    model = GPT(GPTConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4))
    optimizer = create_optimizer(OPTIMIZER_CONFIGS[name](learning_rate=0.125), model)
    assert type(optimizer) is OPTIMIZERS[name]
    assert optimizer.get_lr() == 0.125


def run_config(folder, **groups):
    values = small_config(folder, optimizer_learning_rate=0.01).to_dict()
    return RunConfig.from_dict({**values, **groups})


CHOSEN = {
    "muon": {"optimizer": {"name": "muon"}, "scheduler": {"name": "polynomial", "warmup_steps": 2}},
    "plateau": {
        "optimizer": {"name": "adafactor", "learning_rate": 0.5},
        "scheduler": {"name": "reduce_on_plateau", "patience": 0, "factor": 0.5, "threshold": 0.9},
    },
}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_run_goes_on_with_its_optimizer_and_scheduler(name, tmp_path: Path, no_pictures: None):
    """From the checkpoint after four of seven steps, to the same bytes."""
    start_run(run_config(tmp_path / "whole", **CHOSEN[name])).train()
    start_run(run_config(tmp_path / "again", **CHOSEN[name])).train()
    shutil.rmtree(tmp_path / "again/run/checkpoints/step-00000007")
    resumed = resume_run(tmp_path / "again/run")
    assert type(resumed.trainer.optimizer) is OPTIMIZERS[CHOSEN[name]["optimizer"]["name"]]
    assert resumed.trainer.state.step == 4
    resumed.train()
    assert outcome(tmp_path / "again/run") == outcome(tmp_path / "whole/run")
    rates = [record["lr"] for record in read_metrics(tmp_path / "whole/run/metrics.jsonl") if "lr" in record]
    if name == "plateau":  # evaluated after three steps, and after six: no better by nine tenths
        assert rates == [0.5, 0.5, 0.5, 0.5, 0.25]
    else:
        assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4]


def test_a_plateau_watch_needs_a_plateau(tmp_path: Path):
    run = start_run(run_config(tmp_path))
    with pytest.raises(ConfigError, match="PlateauWatch needs a trainer whose scheduler is a ReduceOnPlateau"):
        PlateauWatch().on_train_begin(run.trainer.view, run.trainer.setup, run.trainer.run)
    with pytest.raises(ConfigError, match="PlateauWatch: no evaluation has val_top1; it has val_loss"):
        PlateauWatch("val_top1").on_evaluate(run.trainer.view, {"val_loss": 1.0})
