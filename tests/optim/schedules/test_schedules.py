"""Learning-rate schedules: their marks, their bounds, and how they compose."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.optim import (
    Constant,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    StepDecay,
    Warmup,
    WarmupCosine,
    WarmupStableDecay,
)

# Every schedule at a highest rate of 1 over 100 steps.
SCHEDULES = [
    Constant(1.0),
    CosineRestarts(1.0, 0.1, cycle_steps=7, cycle_factor=2),
    Exponential(1.0, 0.97),
    InverseSqrt(1.0, 10),
    Linear(1.0, 0.2, 100),
    MultiStep(1.0, (10, 50)),
    OneCycle(1.0, 100),
    OneCycle(1.0, 100, rise=0.5, shape="linear"),
    Polynomial(1.0, 100, power=2.0),
    StepDecay(1.0, 30, gamma=0.5),
    WarmupCosine(1.0, 0.1, 10, 100),
    WarmupStableDecay(1.0, 0.1, 10, 20, 100),
    WarmupStableDecay(1.0, 0.1, 10, 20, 100, shape="sqrt"),
]


def rates(schedule, steps):
    return [schedule(step) for step in range(steps)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_rates_lie_between_zero_and_the_highest(schedule):
    values = rates(schedule, 300)
    assert all(0 <= rate <= 1 + 1e-12 for rate in values)
    assert max(values) == pytest.approx(1.0, abs=0.01)
    assert values == rates(schedule, 300)  # no state


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("warmup", [0, 1, 8])
def test_a_warmup_rises_to_the_first_rate_and_then_shifts(schedule, warmup):
    warm = Warmup(schedule, warmup)
    assert rates(warm, warmup) == pytest.approx([schedule(0) * (i + 1) / (warmup + 1) for i in range(warmup)])
    assert [warm(warmup + step) for step in range(100)] == rates(schedule, 100)


@given(warmup=st.integers(0, 20), decay=st.integers(1, 100), min_lr=st.floats(0, 1))
def test_a_warmup_and_one_cosine_are_warmup_cosine(warmup, decay, min_lr):
    warm = Warmup(CosineRestarts(1.0, min_lr, decay), warmup)
    expected = WarmupCosine(1.0, min_lr, warmup, warmup + decay)
    assert rates(warm, warmup + decay) == pytest.approx(rates(expected, warmup + decay))
    assert Warmup(Constant(0.3), warmup)(warmup // 2) == Constant(0.3, warmup)(warmup // 2)


def test_staircases():
    assert rates(StepDecay(1.0, 2, gamma=0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rates(MultiStep(1.0, (1, 4), gamma=0.5), 6) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(Exponential(1.0, 0.5), 4) == [1, 0.5, 0.25, 0.125]


def test_lines_and_powers():
    assert rates(Linear(1.0, 0.5, 4), 7) == [1, 0.875, 0.75, 0.625, 0.5, 0.5, 0.5]
    assert rates(Linear(0.0, 1.0, 2), 4) == [0, 0.5, 1, 1]
    assert rates(Polynomial(1.0, 4, power=2.0, end_lr=0.0), 6) == [1, 0.5625, 0.25, 0.0625, 0, 0]
    assert rates(Polynomial(1.0, 9, end_lr=0.3), 12) == pytest.approx(rates(Linear(1.0, 0.3, 9), 12))


@given(width=st.integers(1, 1024), warmup=st.integers(1, 500), step=st.integers(0, 2000), scale=st.floats(0.1, 10))
def test_inverse_sqrt_is_the_papers_formula(width, warmup, step, scale):
    t = step + 1
    expected = scale * width**-0.5 * min(t**-0.5, t * warmup**-1.5)
    assert InverseSqrt.noam(width, warmup, scale)(step) == pytest.approx(expected)
    assert InverseSqrt(0.7, warmup)(warmup - 1) == pytest.approx(0.7)


@given(
    cycle=st.integers(1, 20), factor=st.integers(1, 3), count=st.integers(1, 5), min_lr=st.sampled_from([0.0, 0.5, 1.0])
)
def test_every_cosine_cycle_starts_at_the_top(cycle, factor, count, min_lr):
    schedule = CosineRestarts(1.0, min_lr, cycle, factor)
    start, length = 0, cycle
    for _ in range(count):
        assert schedule(start) == 1.0
        falling = [schedule(step) for step in range(start, start + length)]
        assert all(a >= b - 1e-15 for a, b in itertools.pairwise(falling))
        assert falling[-1] >= min_lr
        start, length = start + length, length * factor


def test_one_cycle_hits_its_marks():
    for shape in ("cosine", "linear"):
        schedule = OneCycle(1.0, 101, rise=51 / 101, start_factor=10.0, end_factor=100.0, shape=shape)
        assert schedule(0) == pytest.approx(0.1)
        assert schedule(25) == pytest.approx(0.55)  # half-way up, on both shapes
        assert schedule(50) == pytest.approx(1.0)
        assert schedule(75) == pytest.approx((1 + 0.001) / 2)
        assert schedule(100) == schedule(1000) == pytest.approx(0.001)


def test_warmup_stable_decay_hits_its_marks():
    schedule = WarmupStableDecay(1.0, 0.2, warmup_steps=4, decay_steps=16, total_steps=100)
    assert rates(schedule, 5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert {schedule(step) for step in range(4, 85)} == {1.0}
    assert schedule(88) == pytest.approx(0.8)
    assert schedule(92) == pytest.approx(0.6)
    assert schedule(100) == schedule(1000) == pytest.approx(0.2)
    root = WarmupStableDecay(1.0, 0.2, 4, 16, 100, shape="sqrt")
    assert root(84) == 1.0
    assert root(88) == pytest.approx(0.6)
    assert root(100) == pytest.approx(0.2)


@given(total=st.integers(60, 1000), longer=st.integers(1, 1000))
def test_a_stable_run_can_be_prolonged_before_its_decay(total, longer):
    short, long = (WarmupStableDecay(1.0, 0.0, 10, 50, steps) for steps in (total, total + longer))
    assert rates(short, total - 50) == rates(long, total - 50)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(-1.0, 5), "StepDecay: lr = -1.0 must be 0 or more"),
        (lambda: StepDecay(1.0, 0), "StepDecay: step_size = 0 must be more than 0"),
        (lambda: MultiStep(1.0, (5, 5)), r"MultiStep: milestones = \(5, 5\) must be in ascending order"),
        (lambda: MultiStep(1.0, (5,), gamma=math.nan), "MultiStep: gamma = nan"),
        (lambda: Exponential(1.0, -0.1), "Exponential: gamma = -0.1"),
        (lambda: Linear(1.0, -0.1, 5), "Linear: end_lr = -0.1"),
        (lambda: Linear(1.0, 0.1, 0), "Linear: total_steps = 0"),
        (lambda: Polynomial(math.inf, 5), "Polynomial: lr = inf"),
        (lambda: Polynomial(1.0, 5, power=0), "Polynomial: power = 0"),
        (lambda: CosineRestarts(1.0, 2.0, 5), "min_lr = 2.0 must lie between 0 and the learning rate 1.0"),
        (lambda: CosineRestarts(1.0, 0.0, 0), "CosineRestarts: cycle_steps = 0"),
        (lambda: CosineRestarts(1.0, 0.0, 5, 0), "CosineRestarts: cycle_factor = 0"),
        (lambda: InverseSqrt(-1.0, 5), "InverseSqrt: max_lr = -1.0"),
        (lambda: InverseSqrt(1.0, 0), "InverseSqrt: warmup_steps = 0"),
        (lambda: InverseSqrt.noam(0, 10), "InverseSqrt: width = 0"),
        (lambda: OneCycle(1.0, 3), "OneCycle: rise = 0.3 of total_steps = 3 must be more than one step"),
        (lambda: OneCycle(1.0, 30, rise=1.0), "OneCycle: rise = 1.0"),
        (lambda: OneCycle(1.0, 2, rise=0.5), "OneCycle: rise = 0.5 of total_steps = 2"),
        (lambda: OneCycle(1.0, 30, end_factor=0.0), "OneCycle: end_factor = 0.0"),
        (lambda: OneCycle(1.0, 30, shape="cos"), "OneCycle: shape = 'cos' must be 'cosine' or 'linear'"),
        (
            lambda: WarmupStableDecay(1.0, 0.0, 60, 50, 100),
            "warmup_steps = 60 and decay_steps = 50 must fit in the 100",
        ),
        (lambda: WarmupStableDecay(1.0, 0.0, 6, 0, 100), "WarmupStableDecay: decay_steps = 0"),
        (lambda: WarmupStableDecay(1.0, 0.0, 6, 5, 100, "cosine"), "shape = 'cosine' must be 'linear' or 'sqrt'"),
        (lambda: Warmup(Constant(1.0), -1), "Warmup: warmup_steps = -1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
