"""The bar chart of ``minitrain bench``: tokens per second and memory of each program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..plotting.style import COLORS, GUESS, TRAIN, new_figures, save_figure
from .step_tables import title_of
from .train_step import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PEER = "#adb5bd"
BAR = 0.62  # of the distance between two bars
FEWEST = 2  # bars that a plot has room for, so that a single one is not too wide


def draw(results: Sequence[Result], path: Path) -> Path:
    """Draw the results, a row of two plots for each size, as a PNG file; returns its path.

    Raises:
        FileError: if the file cannot be written.
    """
    plots = []
    for result in results:
        plots += [(title_of(result["config"]), ""), ("", "")]
    figure, axes = new_figures(plots, columns=2)
    bars = sum(max(len(result["programs"]), FEWEST) for result in results)
    figure.set_size_inches(10.5, 1.05 * len(results) + 0.38 * bars)
    for result, speed, memory in zip(results, axes[::2], axes[1::2], strict=True):
        programs = result["programs"]
        _bars(speed, programs, [measured["tokens_per_second"] for measured in programs.values()], speed_labels(result))
        speed.set_xlabel("tokens per second: longer is better")
        peaks = [measured["peak_rss_mb"] or 0.0 for measured in programs.values()]
        _bars(memory, programs, peaks, memory_labels(result))
        memory.set_xlabel("peak memory, MB: shorter is better")
        memory.set_yticklabels([])
    machine = results[-1]["machine"]
    axes[1].set_title(f"{machine['cpu']}, {machine['cores']} cores", loc="right", fontsize=9, color=GUESS)
    save_figure(figure, path)
    return path


def speed_labels(result: Result) -> list[str]:
    """The label of each speed bar: tokens per second, and for PyTorch how many times as fast minitrain is."""
    ratios = result["programs"][result["main"]]["ratios"]
    labels = []
    for name, measured in result["programs"].items():
        ratio = f"   minitrain is {ratios[name]['median']:.2f}x as fast" if name in ratios else ""
        labels.append(f"{measured['tokens_per_second']:,.0f}{ratio}")
    return labels


def memory_labels(result: Result) -> list[str]:
    """The label of each memory bar: the memory, and for PyTorch what share of it minitrain takes."""
    ours = result["programs"][result["main"]]["peak_rss_mb"]
    labels = []
    for measured in result["programs"].values():
        peak = measured["peak_rss_mb"]
        share = f"   minitrain takes {ours / peak:.2f}x of it" if not measured["ours"] and ours and peak else ""
        labels.append("not known here" if peak is None else f"{peak:,.0f}{share}")
    return labels


def _bars(axes: Axes, programs: Result, values: Sequence[float], labels: Sequence[str]) -> None:
    """Horizontal bars from the top down, minitrain's in colour, with labels inside or beside them."""
    from matplotlib.ticker import MaxNLocator

    main = next(iter(programs))
    colors = [TRAIN if name == main else COLORS[5] if measured["ours"] else PEER for name, measured in programs.items()]
    bars = axes.barh(range(len(values)), values, BAR, color=colors)
    axes.set_yticks(range(len(values)), [measured["label"] for measured in programs.values()])
    axes.set_ylim(max(len(values), FEWEST) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))  # the numbers are long
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1.02 * max(values))
    for bar, label, color in zip(bars, labels, colors, strict=True):
        inside = bar.get_width() > 0.5 * max(values)
        axes.annotate(
            label,
            (bar.get_width() if not inside else 0, bar.get_y() + bar.get_height() / 2),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color="white" if inside and color != PEER else "black",
            fontsize=9,
        )
