"""Every schedule draws itself, over as many steps as show what it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.nn import Linear
from minitrain.optim import (
    SGD,
    Constant,
    CosineRestarts,
    CosineScheduler,
    Exponential,
    InverseSqrt,
    MultiStep,
    OneCycle,
    Polynomial,
    StepDecay,
    Warmup,
    WarmupCosine,
    WarmupStableDecay,
)
from minitrain.optim import Linear as LinearSchedule
from minitrain.optim.schedules.picture import length_of
from tests.helpers.texts.html_checks import page_of

CASES: list[tuple[Any, int, set[str]]] = [
    (Constant(0.1), 100, set()),
    (Constant(0.1, warmup_steps=50), 200, {"warm-up"}),
    (WarmupCosine(0.1, 0.01, 10, 1000), 1000, {"warm-up"}),
    (WarmupStableDecay(0.1, warmup_steps=5, decay_steps=20, total_steps=100), 100, {"warm-up", "decay"}),
    (OneCycle(0.1, total_steps=60), 60, {"rise"}),
    (InverseSqrt(0.1, 30), 120, {"warm-up"}),
    (CosineRestarts(0.1, cycle_steps=30), 120, set()),
    (StepDecay(0.1, 30), 120, set()),
    (MultiStep(0.1, (30, 60)), 80, set()),
    (Exponential(0.1, 0.999), 3200, set()),
    (Exponential(0.1, 0.0), 100, set()),
    (LinearSchedule(0.1, total_steps=7), 7, set()),
    (Polynomial(0.1, total_steps=1), 1, set()),
    (Warmup(StepDecay(0.1, 10), 20), 60, {"warm-up"}),
    (WarmupCosine(0.0, total_steps=5_000_000), 5_000_000, set()),
]


@pytest.mark.parametrize(("schedule", "steps", "phases"), CASES, ids=lambda case: type(case).__name__)
def test_a_schedule_is_drawn_with_its_phases(schedule: Any, steps: int, phases: set[str]) -> None:
    assert length_of(schedule) == steps
    page = page_of(schedule)
    assert page.texts[0] == repr(schedule)
    assert {"warm-up", "decay", "rise"} & set(page.texts) == phases
    assert "svg" in page.tags


def test_a_scheduler_shows_its_schedule() -> None:
    optimizer = SGD(Linear(2, 2, np.random.default_rng(0)), lr=0.1)
    page = page_of(CosineScheduler(optimizer, total_steps=50, warmup_steps=5))
    assert page.texts[0].startswith("CosineScheduler: WarmupCosine(max_lr=0.1")
    assert "warm-up" in page.texts
