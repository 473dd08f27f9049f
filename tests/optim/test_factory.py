"""Optimizers and schedulers from a configuration: what is built, and what is said about mistakes."""

import dataclasses
import inspect

import numpy as np
import pytest
from omegaconf import OmegaConf

import minitrain.training
from minitrain.errors import ConfigError
from minitrain.nn import Module, Parameter
from minitrain.optim import (
    SGD,
    Adafactor,
    AdamW,
    Constant,
    CosineRestarts,
    Lion,
    MultiStep,
    Muon,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Scheduler,
    StepDecay,
    Warmup,
    WarmupCosine,
    WarmupStableDecay,
    create_optimizer,
    create_scheduler,
)
from minitrain.optim import schedules as all_schedules
from minitrain.optim.factory import follows_metric, optimizer_settings, schedule_settings
from minitrain.optim.optimizer import Optimizer
from minitrain.optim.registry import OPTIMIZERS, SCHEDULERS
from minitrain.settings.declared import arguments, settings_of


class Model(Module):
    def __init__(self):
        self.matrix = Parameter(np.ones((3, 2)))


SCHEDULES = {name: kind for name, kind in SCHEDULERS.items() if not follows_metric(kind)}


def subclasses(kind):
    return {kind, *(found for child in kind.__subclasses__() for found in subclasses(child))}


def test_everything_there_is_has_a_name():
    named = {cls for cls in subclasses(Optimizer) - {Optimizer} if cls.__module__.startswith("minitrain.")}
    assert set(OPTIMIZERS.values()) == named
    assert set(SCHEDULERS.values()) - set(SCHEDULES.values()) == {ReduceOnPlateau}
    classes = {value for value in vars(all_schedules).values() if inspect.isclass(value)}
    assert set(SCHEDULES.values()) == classes - {Warmup, all_schedules.Schedule, all_schedules.Drawn}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_name_alone_gives_the_constructors_defaults(name):
    made = create_optimizer({"name": name}, Model())
    plain = OPTIMIZERS[name](Model())
    assert type(made) is OPTIMIZERS[name]
    simple = (int, float, str, bool, tuple)
    settings_of = [{k: v for k, v in vars(o).items() if isinstance(v, simple)} for o in (made, plain)]
    assert settings_of[0] == settings_of[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_default_can_be_given(name):
    values = {setting.name: setting.default for setting in optimizer_settings(name).values()}
    assert "learning_rate" in values
    create_optimizer({"name": name, **values}, Model())


@dataclasses.dataclass
class LionConfig:
    name: str = "lion"
    learning_rate: float = 0.5
    beta2: float = 0.75


CONFIGS = {
    "mapping": {"name": "lion", "learning_rate": 0.5, "beta2": 0.75},
    "the constructor's names": {"name": "lion", "lr": 0.5, "betas": [0.9, 0.75]},
    "dataclass": LionConfig(),
    "Hydra": OmegaConf.create({"name": "lion", "lr": 0.5, "betas": [0.9, 0.75]}),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_mappings_dataclasses_and_hydras_configs(kind):
    made = create_optimizer(CONFIGS[kind], Model())
    assert isinstance(made, Lion)
    assert (made.get_lr(), made.betas, made.weight_decay) == (0.5, (0.9, 0.75), 0.0)


def test_tuples_and_words():
    assert create_optimizer({"name": "adafactor", "eps2": 0.5}, Model()).eps == (None, 0.5)
    assert create_optimizer({"name": "adafactor", "eps": (1e-9, 1)}, Model()).eps == (1e-9, 1)
    config = OmegaConf.create({"name": "muon", "adamw_params": ["x.*"], "adjust_lr_fn": "match_rms_adamw"})
    made = create_optimizer(config, Model())
    assert isinstance(made, Muon)
    assert made.adamw_params == ("x.*",)
    assert isinstance(create_optimizer({"name": "sgd", "momentum": 0.9, "nesterov": True}, Model()), SGD)
    assert isinstance(create_optimizer({"name": "adafactor", "relative_step": False}, Model()), Adafactor)


OPTIMIZER_MISTAKES = [
    ({"name": "adamm"}, r"optimizer.name='adamm' is unknown; did you mean 'adam'\? known: adafactor, .*sgd"),
    ({"learning_rate": 1.0}, "the optimizer's configuration needs a name, got null"),
    ({"name": "sgd", "momentun": 0.9}, r"optimizer sgd has no setting momentun; did you mean momentum\? it has learn"),
    ({"name": "lion", "qqq": 1}, "optimizer lion has no setting qqq; it has learning_rate, beta1, beta2, weight_decay"),
    ({"name": "adam", "beta1": "high"}, r"optimizer adam: beta1 must be a number, got 'high' \(str\)"),
    ({"name": "adam", "lr": "1e-3"}, r"learning_rate must be a number, got '1e-3' \(str\) \(in YAML, .*1.0e-3\)"),
    ({"name": "adam", "beta1": None}, "beta1 must be a number, got null"),
    ({"name": "adam", "betas": 0.9}, r"betas must be a list of 2 numbers, got 0.9"),
    ({"name": "adam", "betas": [0.9]}, r"betas must be a list of 2 numbers, got \[0.9\]"),
    ({"name": "adam", "betas": [0.9, 0.99], "beta2": 0.9}, "optimizer adam: beta2 is given twice"),
    ({"name": "adam", "lr": 1.0, "learning_rate": 1.0}, "learning_rate is given twice"),
    ({"name": "adam", "beta1": 1.0}, r"Adam: betas = \(1.0, 0.999\) must be at least 0 and below 1"),
    ({"name": "adam", "lr": float("inf")}, "learning_rate must be finite, got inf"),
    ({"name": "sgd", "nesterov": 1}, r"nesterov must be true or false, got 1 \(int\)"),
    ({"name": "sgd", "momentum": True}, r"momentum must be a number, got True \(bool\)"),
    ({"name": "muon", "ns_steps": 2.5}, "ns_steps must be a whole number, got 2.5"),
    ({"name": "muon", "adjust_lr_fn": "rms"}, "adjust_lr_fn must be 'original' or 'match_rms_adamw', got 'rms'"),
    (
        {"name": "muon", "adamw_params": [1]},
        r"adamw_params must be null or a list in brackets, each entry text, got \[1\]",
    ),
    ("adam", r"the optimizer's configuration must be a mapping or a dataclass, got 'adam' \(str\)"),
    (LionConfig, "the optimizer's configuration must be a mapping or a dataclass"),
]


@pytest.mark.parametrize(("config", "message"), OPTIMIZER_MISTAKES)
def test_optimizer_mistakes_are_explained(config, message):
    with pytest.raises(ConfigError, match=message):
        create_optimizer(config, Model())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [4, 40, 1000])
def test_every_schedule_fits_any_run(name, steps):
    """Lengths that nobody gives are parts of the run."""
    schedule = create_scheduler({"name": name}, 0.5, steps)
    assert all(0 <= schedule(step) <= 0.5 + 1e-12 for step in range(steps + 5))
    if "warmup_steps" in schedule_settings(name):
        warm = create_scheduler({"name": name, "warmup_steps": 2}, 0.5, steps)
        assert warm(0) < warm(1) <= 0.5


SCHEDULES_MADE = {
    "constant": ({"name": "constant", "warmup_steps": 3}, Constant(0.5, 3)),
    "cosine": ({"name": "warmup_cosine", "warmup_steps": 10}, WarmupCosine(0.5, 0.0, 10, 100)),
    "stable": (
        {"name": "warmup_stable_decay", "warmup_steps": 10, "min_lr": 0.1, "shape": "sqrt"},
        WarmupStableDecay(0.5, 0.1, 10, 18, 100, "sqrt"),
    ),
    "step": ({"name": "step", "gamma": 0.5}, StepDecay(0.5, 25, 0.5)),
    "multi-step": ({"name": "multi_step"}, MultiStep(0.5, (50, 75))),
    "multi-step given": ({"name": "multi_step", "milestones": [7, 9]}, MultiStep(0.5, (7, 9))),
    "restarts": ({"name": "cosine_restarts", "warmup_steps": 1}, Warmup(CosineRestarts(0.5, 0.0, 25), 1)),
    "polynomial": ({"name": "polynomial", "warmup_steps": 20, "power": 2}, Warmup(Polynomial(0.5, 80, 2), 20)),
    "one cycle": ({"name": "one_cycle", "rise": 0.5}, OneCycle(0.5, 100, 0.5)),
}


@pytest.mark.parametrize("name", SCHEDULES_MADE)
def test_schedules_get_rate_and_length_from_the_run(name):
    config, expected = SCHEDULES_MADE[name]
    assert create_scheduler(config, 0.5, 100) == expected
    optimizer = AdamW(Model(), lr=0.5)
    scheduler = create_scheduler(config, optimizer, 100)
    assert isinstance(scheduler, Scheduler)
    assert scheduler.schedule == expected
    assert optimizer.get_lr() == expected(0)


def test_a_plateau_needs_an_optimizer():
    optimizer = AdamW(Model(), lr=0.5)
    made = create_scheduler({"name": "reduce_on_plateau", "patience": 3, "mode": "max"}, optimizer, 100)
    assert isinstance(made, ReduceOnPlateau)
    assert (made.optimizer, made.patience, made.mode) == (optimizer, 3, "max")
    with pytest.raises(ConfigError, match="it lowers the rate of an optimizer; give the optimizer"):
        create_scheduler({"name": "reduce_on_plateau"}, 0.5, 100)


SCHEDULER_MISTAKES = [
    ({"name": "warmup_cosin"}, r"scheduler.name='warmup_cosin' is unknown; did you mean 'warmup_cosine'\?"),
    ({"name": "plateau"}, "known: .*reduce_on_plateau"),
    ({"name": "step", "gama": 0.5}, r"scheduler step has no setting gama; did you mean gamma\?"),
    ({"name": "step", "lr": 0.5}, "scheduler step has no setting lr"),
    ({"name": "step", "step_size": 0}, "StepDecay: step_size = 0 must be more than 0"),
    ({"name": "step", "step_size": 1.5}, "step_size must be a whole number or null, got 1.5"),
    ({"name": "multi_step", "milestones": 5}, "milestones must be null or a list in brackets, each entry a whole numb"),
    ({"name": "one_cycle", "warmup_steps": 5}, "one_cycle has no setting warmup_steps"),
    ({"name": "linear", "warmup_steps": 100}, "linear: warmup_steps = 100 must be less than the 100 steps of the run"),
    ({"name": "warmup_stable_decay", "decay_steps": 500}, "decay_steps = 500 must fit in the 100 steps"),
]


@pytest.mark.parametrize(("config", "message"), SCHEDULER_MISTAKES)
def test_scheduler_mistakes_are_explained(config, message):
    with pytest.raises(ConfigError, match=message):
        create_scheduler(config, 0.5, 100)


def test_settings_are_read_from_a_signature():
    def make(model: Module, *, lr: float, betas: tuple[float, float] = (0.5, 0.6), power: int = 2) -> None: ...

    found = settings_of(make, without=("model",))
    assert list(found) == ["learning_rate", "beta1", "beta2", "power"]
    assert arguments("mine", found, {"lr": 1, "beta2": 0.7}) == {"lr": 1, "betas": (0.5, 0.7), "power": 2}
    with pytest.raises(ConfigError, match="mine: learning_rate has to be given"):
        arguments("mine", found, {"power": 3})


def test_a_constructor_without_annotations_has_the_types_of_its_defaults():
    def make(model, lr=1, *, betas=(0.5, 1), name="x", fast=False, extra=None): ...

    found = settings_of(make, without=("model",))
    assert list(found) == ["learning_rate", "beta1", "beta2", "name", "fast", "extra"]
    given = {"lr": 0.5, "beta2": 0.7, "fast": True, "extra": [1]}
    assert arguments("mine", found, given) == {
        "lr": 0.5, "betas": (0.5, 0.7), "name": "x", "fast": True, "extra": (1,)
    }  # fmt: skip
    for name, value, kind in (("lr", "high", "a number"), ("fast", 1, "true or false"), ("name", 2, "text")):
        with pytest.raises(ConfigError, match=f"must be {kind}, got"):
            arguments("mine", found, {name: value})


def test_training_has_them_too():
    assert minitrain.optim.create_optimizer is create_optimizer
    assert minitrain.optim.create_scheduler is create_scheduler
