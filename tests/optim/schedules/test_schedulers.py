"""Schedulers over an optimizer: the rate is set before the update it governs; plateaus; pictures."""

import json
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import CheckpointError, ConfigError
from minitrain.nn import Module, Parameter
from minitrain.optim import (
    SGD,
    ConstantScheduler,
    CosineScheduler,
    ExponentialScheduler,
    InverseSqrt,
    Linear,
    ReduceOnPlateau,
    Scheduler,
    StepScheduler,
    WarmupCosine,
    WarmupDecayScheduler,
    plot_schedule,
    schedules,
)
from minitrain.optim.schedules import plot


class Point(Module):
    def __init__(self):
        self.place = Parameter(np.zeros(1))


def sgd(lr=1.0):
    return SGD(Point(), lr=lr)


def rates(scheduler, steps):
    """The rates of the first updates, as a loop sees them that steps after each."""
    seen = []
    for _ in range(steps):
        seen.append(scheduler.optimizer.get_lr())
        scheduler.step()
    return seen


# The first rates of each, for an optimizer whose rate is 1.
SCHEDULERS = {
    "constant": (lambda o: ConstantScheduler(o, warmup_steps=3), [0.25, 0.5, 0.75, 1, 1, 1]),
    "cosine": (
        lambda o: CosineScheduler(o, total_steps=5, warmup_steps=1, min_lr=0.2),
        [0.5, 1, 0.88284, 0.6, 0.31716],
    ),
    "exponential": (lambda o: ExponentialScheduler(o, gamma=0.5), [1, 0.5, 0.25, 0.125]),
    "step": (lambda o: StepScheduler(o, step_size=2), [1, 1, 0.1, 0.1, 0.01]),
    "warm-up and decay": (
        lambda o: WarmupDecayScheduler(o, total_steps=5, warmup_steps=1, min_lr=0.2),
        [0.5, 1, 0.8, 0.6, 0.4, 0.2, 0.2],
    ),
}
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


@every_scheduler
def test_the_rate_is_set_before_the_update_it_governs(name):
    make, expected = SCHEDULERS[name]
    assert rates(make(sgd()), len(expected)) == pytest.approx(expected, abs=1e-5)


@every_scheduler
def test_step_returns_the_rate_that_it_sets(name):
    make, expected = SCHEDULERS[name]
    scheduler = make(sgd())
    for number in range(len(expected)):
        assert scheduler.step(number) == scheduler.get_lr() == scheduler(number)
    for number in range(1, len(expected)):
        scheduler.global_step = number - 1
        assert scheduler.step() == pytest.approx(expected[number], abs=1e-5)


@every_scheduler
def test_the_optimizers_rate_is_the_highest(name):
    one, two = (SCHEDULERS[name][0](sgd(lr)) for lr in (1.0, 0.2))
    assert max(rates(two, 10)) == pytest.approx(0.2 * max(rates(one, 10)))


@every_scheduler
@given(stop=st.integers(0, 6), more=st.integers(0, 6))
def test_the_state_goes_on(name, stop, more):
    one, two = (SCHEDULERS[name][0](sgd()) for _ in range(2))
    rates(one, stop)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert two.get_lr() == one.get_lr() == two.optimizer.get_lr()
    assert rates(two, more) == rates(one, more)


def test_any_schedule_and_any_step():
    optimizer = sgd(lr=99.0)
    schedule = InverseSqrt(1.0, 4)
    scheduler = Scheduler(optimizer, schedule)
    assert optimizer.get_lr() == schedule(0)
    scheduler.step(100)
    assert scheduler.get_lr() == optimizer.get_lr() == schedule(100)
    scheduler.step()
    assert optimizer.get_lr() == schedule(101)
    assert scheduler(7) == schedule(7)  # a scheduler is a schedule
    assert optimizer.get_lr() == schedule(101)


def test_scheduler_mistakes_are_explained():
    scheduler = Scheduler(sgd(), Linear(1.0, 0.0, 5))
    with pytest.raises(ConfigError, match="Scheduler: global_step = -1 must be 0 or more"):
        scheduler.step(-1)
    with pytest.raises(CheckpointError, match="another scheduler: only one of the two has bad"):
        scheduler.load_state_dict(ReduceOnPlateau(sgd()).state_dict())
    with pytest.raises(CheckpointError, match="another scheduler: only one of the two has bad"):
        ReduceOnPlateau(sgd()).load_state_dict(scheduler.state_dict())


def metrics(scheduler, values):
    seen = []
    for value in values:
        scheduler.step(value)
        seen.append(scheduler.get_lr())
    return seen


def test_a_plateau_returns_the_rate_that_is_set():
    scheduler = ReduceOnPlateau(sgd(), factor=0.5, patience=0)
    assert [scheduler.step(metric) for metric in (3, 2, 2, 2)] == [1, 1, 0.5, 0.25]


def test_a_plateau_lowers_the_rate_after_patience():
    scheduler = ReduceOnPlateau(sgd(), factor=0.5, patience=2)
    assert metrics(scheduler, [3, 2, 2, 2, 2, 2, 2, 2]) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_more_can_be_better():
    assert metrics(ReduceOnPlateau(sgd(), mode="max", factor=0.5, patience=0), [1, 2, 3, 3, 4]) == [1, 1, 1, 0.5, 0.5]
    assert metrics(ReduceOnPlateau(sgd(), mode="min", factor=0.5, patience=0), [1, 2, 0.5]) == [1, 0.5, 0.5]


def test_thresholds_cooldown_and_the_lowest_rate():
    relative = ReduceOnPlateau(sgd(), factor=0.5, patience=0, threshold=0.1)
    assert metrics(relative, [10, 9.5, 8.9]) == [1, 0.5, 0.5]
    absolute = ReduceOnPlateau(sgd(), factor=0.5, patience=0, threshold=1.0, threshold_mode="abs")
    assert metrics(absolute, [10, 9.5, 8.9]) == [1, 0.5, 0.5]
    assert metrics(ReduceOnPlateau(sgd(), factor=0.5, patience=0, cooldown=2), [1] * 6) == [
        1,
        0.5,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    assert metrics(ReduceOnPlateau(sgd(), factor=0.5, patience=0, min_lr=0.4), [1] * 4) == [1, 0.5, 0.4, 0.4]
    assert metrics(ReduceOnPlateau(sgd(), factor=0.5, patience=0, eps=0.3), [1] * 4) == [1, 0.5, 0.5, 0.5]
    assert metrics(ReduceOnPlateau(sgd(), factor=0.5, patience=0), [1, np.nan]) == [1, 0.5]


@given(values=st.lists(st.floats(-5, 5), max_size=20), stop=st.integers(0, 20))
def test_a_plateaus_state_goes_on(values, stop):
    one, two, whole = (ReduceOnPlateau(sgd(), factor=0.5, patience=1, cooldown=1) for _ in range(3))
    first = metrics(one, values[:stop])
    two.load_state_dict(one.state_dict())
    assert first + metrics(two, values[stop:]) == metrics(whole, values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "lower"}, "ReduceOnPlateau: mode = 'lower' must be 'min' or 'max'"),
        ({"threshold_mode": "x"}, "threshold_mode = 'x' must be 'rel' or 'abs'"),
        ({"factor": 1.0}, "factor = 1.0 must be at least 0 and below 1"),
        ({"patience": -1}, "patience = -1 must be 0 or more"),
    ],
)
def test_plateau_mistakes_are_explained(options, message):
    with pytest.raises(ConfigError, match=message):
        ReduceOnPlateau(sgd(), **options)


def test_a_schedule_draws_itself(tmp_path: Path, monkeypatch):
    figures = []
    monkeypatch.setattr(plot, "save_figure", lambda figure, path: figures.append(figure))
    schedule = WarmupCosine(1e-3, 1e-4, 10, 50)
    plot_schedule(schedule, 50, "x")
    plot_schedule({"cosine": schedule, "constant": Scheduler(sgd(), Linear(1.0, 0.5, 20))}, 30, "x", title="Two")
    (line,) = figures[0].axes[0].lines
    assert list(line.get_ydata()) == [schedule(step) for step in range(50)]
    assert not figures[0].legends
    assert [text.get_text() for text in figures[1].legends[0].get_texts()] == ["cosine", "constant"]
    assert figures[1].axes[0].get_title(loc="left") == "Two"
    assert len(figures[1].axes[0].lines[1].get_ydata()) == 30
    monkeypatch.undo()
    plot_schedule(schedule, 50, tmp_path / "rate.png")
    assert (tmp_path / "rate.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="plot_schedule: total_steps = 0 must be more than 0"):
        plot_schedule(schedule, 0, tmp_path / "rate.png")


@pytest.mark.parametrize(
    "drawn",
    [WarmupCosine(1e-3, 1e-4, 10, 50), InverseSqrt(1.0, 4), CosineScheduler(sgd(), total_steps=20)],
    ids=lambda drawn: type(drawn).__name__,
)
def test_plot_is_a_method(drawn, monkeypatch):
    figures = []
    monkeypatch.setattr(plot, "save_figure", lambda figure, path: figures.append((figure, path)))
    drawn.plot(20, "rate.png", title="Mine")
    ((figure, path),) = figures
    assert path == "rate.png"
    assert figure.axes[0].get_title(loc="left") == "Mine"
    assert list(figure.axes[0].lines[0].get_ydata()) == [drawn(step) for step in range(20)]


def test_every_schedule_has_the_method():
    kinds = [kind for kind in vars(schedules).values() if isinstance(kind, type) and is_dataclass(kind)]
    assert len(kinds) == 12
    assert all(callable(getattr(kind, "plot", None)) for kind in kinds)
