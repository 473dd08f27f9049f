"""The diagnosis of a run: healthy curves raise no alarm, and each trouble is named with evidence, cause and advice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.records import LossLevels, blind_spots, diagnose

rng = np.random.default_rng


def kinds(levels: LossLevels | None = None, **history: Any) -> list[str]:
    return [found.kind for found in diagnose(history, levels)]


def power(end: float, *, start: float = 4.0, points: int = 200, noise: float = 0.05, seed: int = 0) -> list[float]:
    """A loss that falls from start to end like a power law, with noise."""
    fall = end + (start - end) / (1 + 30 * np.linspace(0, 1, points))
    return list(fall * (1 + noise * rng(seed).standard_normal(points)))


def healthy(seed: int) -> tuple[dict[str, list[float]], float] | None:
    """Curves of an ordinary training of some length, shape and noise, and the loss of guessing."""
    draw = rng(seed)
    points = int(draw.choice([10, 15, 25, 40, 80, 150, 300]))
    t, start = np.linspace(0, 1, points), draw.uniform(0.7, 11)
    shapes = [
        (1 + draw.uniform(3, 60) * t) ** -draw.uniform(0.5, 1.2),
        np.exp(-draw.uniform(2, 5) * t),
        1 / (1 + np.exp((t - draw.uniform(0.1, 0.5)) * draw.uniform(8, 20))),
        1 - t * draw.uniform(0.8, 1),
    ]
    shape = shapes[draw.integers(4)]
    end = start * draw.uniform(0.02, 0.75)
    mean = end + (start - end) * shape / shape[0]
    third = points // 3
    if mean[-2 * third : -third].mean() - mean[-third:].mean() < 0.02 * (mean[0] - mean[-1]):
        return None  # it stands still at its end: a plateau
    noise = draw.choice([0.002, 0.01, 0.03, 0.06])
    history = {"train_loss": list(mean * (1 + noise * draw.standard_normal(points)))}
    if evaluations := int(draw.choice([0, 5, 8, 15])):
        there = np.linspace(points // evaluations, points - 1, evaluations).astype(int)
        noise = draw.choice([0.001, 0.005, 0.01])
        gap = draw.uniform(0, 0.1) * start
        history["val_loss"] = list((mean[there] + gap) * (1 + noise * draw.standard_normal(evaluations)))
    drift, jumps = math.log(draw.uniform(0.3, 3)) * t, draw.uniform(0.05, 0.4) * draw.standard_normal(points)
    history["grad_norm"] = list(draw.choice([0.1, 1.0, 20.0]) * np.exp(drift + jumps))
    return history, start


def test_ordinary_trainings_raise_no_alarm() -> None:
    alarms = []
    for seed in range(600):
        if (made := healthy(seed)) is not None:
            history, guess = made
            found = diagnose(history) + diagnose(history, LossLevels(guess, 0.87 * guess, 0.01))
            alarms += [(seed, one.message) for one in found]
    assert len({seed for seed, _ in alarms}) <= 2, alarms


NOISE = rng(0).standard_normal(200)
RISING = [*np.linspace(3, 1.5, 50), *np.linspace(1.5, 6, 40)]
BACK = list(np.concatenate([np.linspace(3.3, 2.9, 20), np.linspace(2.9, 3.15, 60)]) + 0.02 * NOISE[:80])
SPIKE = [5.0 if i == 60 else loss for i, loss in enumerate(power(1, noise=0.01))]
SETTLED = list(0.35 + 0.35 * 0.96 ** np.arange(150))
LINE = list(np.linspace(3.3, 3.0, 60) + 0.01 * NOISE[:60])


@pytest.mark.parametrize(
    ("kind", "words", "history"),
    [
        ("not finite", "rate did not do it", {"train_loss": [2.0, 1.9, math.nan]}),
        ("not finite", "in the first record", {"train_loss": [math.nan]}),
        ("not finite", "rate is too high", {"train_loss": [2.0, 1.9, 3.5, 9.0, 40.0, math.inf]}),
        ("not finite", "validation data", {"train_loss": [2.0, 1.9], "val_loss": [2.0, math.inf]}),
        ("not finite", "grad_norm is nan", {"train_loss": [2.0, 1.9], "grad_norm": [1.0, math.nan]}),
        ("exploding", "from 1.58 to 5.54", {"train_loss": RISING}),
        ("exploding", "from about 1 to 50", {"grad_norm": [1.0] * 30 + [50.0] * 3}),
        ("unstable", "batches are too small", {"train_loss": list(2 + rng(0).choice([-1.0, 1.0], 60))}),
        ("gradients add up", "zero_grad", {"train_loss": BACK, "grad_norm": list(1 + 0.5 * np.arange(80))}),
        ("turned back", "weight decay", {"train_loss": BACK, "val_loss": BACK[::10]}),
        ("overfitting", "2.4", {"train_loss": list(np.linspace(3, 1, 50)), "val_loss": [3, 2.5, 2.4, 2.5, 2.6, 2.8]}),
        ("rough start", "4.4", {"train_loss": [3.3, 3.2, 4.4, *power(2.5, start=3.3, points=60, noise=0.01)]}),
        ("spike", "to 5 at record 60", {"train_loss": SPIKE}),
        ("slow", "straight line", {"train_loss": LINE, "grad_norm": list(1 + 0.1 * NOISE[:60])}),
        ("plateau", "stands at 1.997", {"train_loss": list(2 + 0.05 * NOISE)}),
        ("plateau", "0.2 from 5", {"train_loss": SETTLED, "grad_norm": list(np.geomspace(5, 0.2, 150))}),
        ("vanishing gradients", "1.0e-09", {"grad_norm": [1e-9] * 5}),
        ("vanishing gradients", "of b", {"grad_norm.a": [1.0], "grad_norm.b": [1e-8]}),
        ("dead units", "90%", {"dead.feed_forward": [0.2, 0.9]}),
        ("dead units", "up to 90", {"train_loss": [2.6, 9, 90, *[2.3] * 40], "grad_norm": [9, 40, 90, *[0.1] * 40]}),
    ],
)
def test_a_trouble_is_named_with_evidence_cause_and_advice(kind: str, words: str, history: dict[str, Any]) -> None:
    found = diagnose(history)
    assert [one.kind for one in found] == [kind]
    assert found[0].metric in history
    assert words in found[0].message
    assert min(map(len, (found[0].evidence, found[0].cause, found[0].advice))) > 15


@pytest.mark.parametrize(
    ("kind", "levels", "history"),
    [
        ("wrong start", LossLevels(guess=2.3), {"train_loss": [4.0, *power(1, start=3.9, points=30, noise=0.01)]}),
        ("too good", LossLevels(floor=0.9), {"train_loss": power(0.1), "val_loss": power(0.2, points=9)}),
        ("ignores its input", LossLevels(guess=3.3, blind=2.86), {"train_loss": list(2.86 + 0.03 * NOISE)}),
    ],
)
def test_with_the_levels_of_the_loss_more_is_seen(kind: str, levels: LossLevels, history: dict[str, Any]) -> None:
    assert kind not in kinds(**history)
    assert kinds(levels, **history) == [kind]
    assert len(blind_spots(levels)) < len(blind_spots())


def test_losses_that_rise_together_are_no_overfitting() -> None:
    assert "overfitting" not in kinds(train_loss=BACK, val_loss=BACK[::10])


def test_a_flat_end_under_a_rate_that_came_down_is_no_plateau() -> None:
    flat, rates = [*np.linspace(4, 2, 40), *[2.0] * 90], [1.0] * 40 + list(np.linspace(1, 0.1, 90))
    assert kinds(train_loss=flat) == ["plateau"]
    assert kinds(train_loss=flat, lr=rates) == []


def test_a_loss_that_rises_with_its_rate_has_not_turned_back() -> None:
    assert "turned back" not in kinds(train_loss=BACK, lr=[*np.linspace(1, 0.1, 24), *[1.0] * 56])


@given(st.lists(st.integers(-3, 12), min_size=1, max_size=60))
def test_the_levels_are_entropies_of_the_targets_that_count(targets: list[int]) -> None:
    counted = [target for target in targets if 0 <= target < 10]
    levels = LossLevels.of(np.array(targets), 10, floor=0.5)
    assert levels.guess == math.log(10)
    assert levels.floor == 0.5
    if not counted:
        assert levels.blind is None
        return
    shares = [counted.count(kind) / len(counted) for kind in set(counted)]
    assert levels.blind == pytest.approx(-sum(p * math.log(p) for p in shares))


wild = st.lists(st.floats(), max_size=70)


@given(wild, wild, wild, wild)
def test_any_history_can_be_looked_at(loss: Any, val: Any, norm: Any, rate: Any) -> None:
    with np.errstate(all="ignore"):
        found = diagnose(
            {"train_loss": loss, "val_loss": val, "grad_norm": norm, "lr": rate}, LossLevels(1.0, 0.9, 0.1)
        )
    assert len({(one.kind, one.metric) for one in found}) == len(found)
