"""The style of all plots over steps, and their PNG files. Matplotlib is imported when the first is made."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRAIN, VALIDATION, GUESS = "#2a6fbb", "#d1495b", "#6c757d"
RIGHT = "#3d9970"
COLORS = (TRAIN, VALIDATION, RIGHT, "#edae49", "#7b4b94", "#00798c", "#8d6a4f", GUESS)
"""The colors of curves in one plot."""


def new_figure(title: str, ylabel: str) -> tuple[Figure, Axes]:
    """A figure of one plot over the steps."""
    figure, (axes,) = new_figures([(title, ylabel)])
    return figure, axes


def new_figures(
    plots: Sequence[tuple[str, str]], xlabel: str = "step", columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of plots, side by side or in ``columns``; made without pyplot, which has the user's own.

    Args:
        plots: title and vertical label of each.
        xlabel: horizontal label of all.
        columns: plots in a row; ``None`` for all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = columns or len(plots)
    rows = -(-len(plots) // columns)
    width = 8 if columns == 1 else 5.5 * columns
    figure = Figure(figsize=(width, 4.8 if rows == 1 else 3.6 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    made = []
    for i, (title, ylabel) in enumerate(plots):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02, y=0.08)
        made.append(axes)
    return figure, made


def set_step_range(axes: Axes, steps: Sequence[float]) -> None:
    """Let the horizontal axis end where the steps do; around a single step, leave half a step on both sides."""
    if len(steps) == 0:
        return
    first, last = min(steps), max(steps)
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)


def set_log_scale(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, also between powers of ten where there are few of these."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    if decades < 2:  # few powers of ten, so some of their multiples have numbers too
        subs = (1.0, 2.0, 5.0) if decades > 0.4 else tuple(1 + i / 4 for i in range(36))
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_minor_formatter(NullFormatter())


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file, atomically.

    Raises:
        FileError: if the file cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomically(path, picture.getvalue())
