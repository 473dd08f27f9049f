"""The rates of schedules, update by update, from their formulas in plain numbers; exact corners of a plateau."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.nn import Module, Parameter
from minitrain.optim import SGD, CosineRestarts, MultiStep, OneCycle, ReduceOnPlateau, WarmupCosine, WarmupStableDecay

STEPS = 60  # beyond the end of every schedule here
HIGH, LOW = 3.0, 0.5


def cosine(start, end, share):
    return start + (end - start) * (1 - math.cos(math.pi * share)) / 2


def line(start, end, share):
    return start + (end - start) * share


def warmup_cosine(step):
    """5 updates up, 32 down."""
    if step < 5:
        return HIGH * (step + 1) / 6
    return cosine(HIGH, LOW, (step - 5) / 32) if step < 37 else LOW


def restarts(step):
    """Cycles of 4, 12 and 36 updates, and one that is cut."""
    for start, length in ((0, 4), (4, 12), (16, 36), (52, 108)):
        if start <= step < start + length:
            return cosine(HIGH, LOW, (step - start) / length)
    raise AssertionError(step)


def multi_step(step):
    return HIGH * (1 if step < 7 else 0.5 if step < 20 else 0.25)


def one_cycle(between):
    """The peak is update 11, the last one is update 39."""

    def rate(step):
        if step < 11:
            return between(HIGH / 10, HIGH, step / 11)
        return between(HIGH, HIGH / 10 / 8, (step - 11) / 28) if step < 39 else HIGH / 80

    return rate


def stable(share):
    """5 updates up, at the top until update 30, 10 down."""

    def rate(step):
        if step < 5:
            return HIGH * (step + 1) / 6
        if step < 30:
            return HIGH
        return line(HIGH, LOW, share((step - 30) / 10)) if step < 40 else LOW

    return rate


CYCLE = {"total_steps": 40, "rise": 0.3, "start_factor": 10.0, "end_factor": 8.0}


@pytest.mark.parametrize(
    ("schedule", "by_hand"),
    [
        (WarmupCosine(HIGH, LOW, 5, 37), warmup_cosine),
        (CosineRestarts(HIGH, LOW, 4, 3), restarts),
        (CosineRestarts(HIGH, LOW, 4), lambda step: cosine(HIGH, LOW, step % 4 / 4)),
        (MultiStep(HIGH, (7, 20), 0.5), multi_step),
        (OneCycle(HIGH, **CYCLE), one_cycle(cosine)),
        (OneCycle(HIGH, **CYCLE, shape="linear"), one_cycle(line)),
        (WarmupStableDecay(HIGH, LOW, 5, 10, 40), stable(lambda share: share)),
        (WarmupStableDecay(HIGH, LOW, 5, 10, 40, shape="sqrt"), stable(math.sqrt)),
    ],
)
def test_every_rate_is_that_of_the_formula(schedule, by_hand):
    rates = [schedule(step) for step in range(STEPS)]
    np.testing.assert_allclose(rates, [by_hand(step) for step in range(STEPS)], rtol=1e-13)


def test_the_lowest_rate_is_not_negative():
    with pytest.raises(ConfigError, match=r"min_lr = -0\.5 must lie between 0 and the learning rate 1\.0"):
        WarmupCosine(1.0, -0.5, 0, 10)


class Point(Module):
    def __init__(self):
        self.place = Parameter(np.zeros(1))


def rate_after(values, **options):
    """What a plateau makes of a rate of 1 when it is shown these values of the metric."""
    scheduler = ReduceOnPlateau(SGD(Point(), lr=1.0), patience=0, **options)
    for value in values:
        scheduler.step(value)
    assert scheduler(len(values)) == scheduler.get_lr()
    return scheduler.get_lr()


@pytest.mark.parametrize(
    ("options", "nearer", "exactly", "better"),
    [
        ({"mode": "min", "threshold_mode": "rel", "threshold": 0.25}, 7.0, 6.0, 5.5),
        ({"mode": "max", "threshold_mode": "rel", "threshold": 0.25}, 9.0, 10.0, 10.5),
        ({"mode": "min", "threshold_mode": "abs", "threshold": 2.0}, 7.0, 6.0, 5.5),
        ({"mode": "max", "threshold_mode": "abs", "threshold": 2.0}, 9.0, 10.0, 10.5),
    ],
)
def test_better_is_by_more_than_the_threshold(options, nearer, exactly, better):
    assert rate_after([8.0, better], factor=0.5, **options) == 1.0
    assert rate_after([8.0, exactly], factor=0.5, **options) == 0.5
    assert rate_after([8.0, nearer], factor=0.5, **options) == 0.5


def test_a_reduction_is_by_more_than_eps():
    assert rate_after([1.0, 1.0], factor=0.5, eps=0.5) == 1.0
    assert rate_after([1.0, 1.0], factor=0.25, eps=0.5) == 0.25
