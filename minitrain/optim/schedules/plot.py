"""Plots of schedules, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ...plotting.style import COLORS, new_figure, save_figure
from ..checks import POSITIVE

Rate = Callable[[int], float]
"""The rate of update number ``step``: a schedule or a scheduler."""


def plot_schedule(
    schedule: Rate | Mapping[str, Rate], total_steps: int, path: str | Path, *, title: str = "Learning rate"
) -> None:
    """Draw the rate of each update of a run.

    Args:
        schedule: a schedule or a scheduler, or several by their names in the plot.
        total_steps: number of updates.
        path: the PNG to write.
        title: the title of the plot.

    Raises:
        ConfigError: if there is no step to draw.
        FileError: if the file cannot be written.
    """
    POSITIVE.check("plot_schedule", total_steps=total_steps)
    named = schedule if isinstance(schedule, Mapping) else {"": schedule}
    figure, axes = new_figure(title, "learning rate")
    for i, (name, rate) in enumerate(named.items()):
        rates = [rate(step) for step in range(total_steps)]
        axes.plot(rates, color=COLORS[i % len(COLORS)], linewidth=2, label=name)
        if len(named) == 1:
            axes.fill_between(range(total_steps), rates, color=COLORS[0], alpha=0.08)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    if isinstance(schedule, Mapping):
        figure.legend(loc="outside right upper", frameon=False)  # curves may cross any part of the plot
    save_figure(figure, path)
