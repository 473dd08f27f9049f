"""A schedule as a notebook shows it: its rate over the steps, with its phases and settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...display.lines import MOST, Line, line_plot
from ...display.markup import Html, code, element, joined

LENGTHS = ("warmup_steps", "step_size", "cycle_steps")
"""Settings that say how long something takes, of schedules that know no end."""
PARTS = 4  # as many such lengths are drawn
SHORTEST, LONGEST = 100, 1 << 20  # steps, where no setting says how many to draw
FALLEN = 20  # the rate has then fallen by this factor


def draw_schedule(schedule: Callable[[int], float], steps: int | None = None) -> Html:
    """The rates of a schedule as an SVG below its settings.

    Args:
        schedule: gives the rate of each update.
        steps: how many updates to draw; ``None`` for what its settings say.
    """
    title = ""
    if getattr(schedule, "optimizer", None) is not None:  # a scheduler, which has its schedule inside
        title, schedule = f"{type(schedule).__name__}: ", schedule.schedule  # type: ignore[attr-defined]
    steps = steps or length_of(schedule)
    peak = int(getattr(schedule, "warmup_steps", 0))
    shown = np.unique([*np.linspace(0, steps - 1, MOST - 2).astype(int), min(peak, steps - 1)])
    rates = [schedule(int(step)) for step in shown]
    plot = line_plot(
        [Line("", shown, rates)], ylabel="learning rate", from_zero=True, marks=_phases(schedule, steps, shown, rates)
    )
    return joined([element("div", code(f"{title}{schedule!r}")), plot])


def length_of(schedule: Any) -> int:
    """How many updates show what a schedule does: all, if it has an end, else a few of its phases."""
    inner = getattr(schedule, "schedule", None)
    if inner is not None:  # a warm-up before another schedule, or a scheduler
        return int(getattr(schedule, "warmup_steps", 0)) + length_of(inner)
    if total := getattr(schedule, "total_steps", 0):
        return int(total)
    if milestones := getattr(schedule, "milestones", ()):
        return int(milestones[-1]) + max(1, int(milestones[-1]) // 3)
    if longest := max(int(getattr(schedule, name, 0)) for name in LENGTHS):
        return PARTS * longest
    steps, first = SHORTEST, schedule(0)
    while steps < LONGEST and 0 < first < FALLEN * schedule(steps) and schedule(steps) != first:
        steps *= 2
    return steps


def _phases(schedule: Any, steps: int, shown: Any, rates: list[float]) -> list[tuple[float, float, str]]:
    warmup = int(getattr(schedule, "warmup_steps", 0))
    phases = [(0.0, float(warmup), "warm-up")] if warmup else []
    if getattr(schedule, "rises", False):
        phases.append((0.0, float(shown[int(np.argmax(rates))]), "rise"))
    if decay := getattr(schedule, "decay_steps", 0):
        phases.append((float(steps - decay), float(steps), "decay"))
    return phases
