"""A profile as a plot: the roofline with a point for each operation, and the time of each operation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..plotting.style import COLORS, GUESS, TRAIN, VALIDATION, new_figures, save_figure
from .labels import label_points
from .machine import Machine
from .report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTIONS = {"forward": TRAIN, "backward": VALIDATION, "optimizer": COLORS[2], "clip": COLORS[3], "": GUESS}
"""Colours by direction; the last is for time outside of operations."""
_MOST_BARS = 14
_WHOLE, _LEAST = 2500.0, 14.0  # areas of points, in square points: for the time of a whole step, and the smallest


def draw(report: Report, path: str | Path, title: str = "") -> Path:
    """Plot a report as a PNG file; returns its path.

    Args:
        report: the report; without the machine's speeds the roofline is empty.
        path: path of the file.
        title: title of the plot.

    Raises:
        FileError: if the file cannot be written.
    """
    figure, (roofline, bars) = new_figures([("Roofline", "GFLOP/s"), ("Where the time goes", "")], xlabel="")
    figure.set_size_inches(14, 6.4)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=GUESS)
    _draw_bars(bars, report)
    counted = [row for row in report.by_op() if row.intensity and row.flops_per_second]
    if report.machine is not None and counted:
        radii = _draw_roofline(roofline, counted, report, report.machine)
        figure.draw_without_rendering()  # computes the layout, so that slopes and labels can be measured
        figure.set_layout_engine("none")
        _name_slope(roofline, report.machine)
        label_points(roofline, [row.op for row in counted], *_places(counted), radii)
    save_figure(figure, path)
    return Path(path)


def _places(rows: list[Row]) -> tuple[list[float], list[float]]:
    """Arithmetic intensities, and speeds in GFLOP/s."""
    return [row.intensity or 0.0 for row in rows], [(row.flops_per_second or 0.0) * 1e-9 for row in rows]


def _draw_roofline(axes: Axes, rows: list[Row], report: Report, machine: Machine) -> list[float]:
    """The machine's bound, and a point for each row; returns the points' radii in typographic points."""
    xs, ys = _places(rows)
    left, right = min(*xs, machine.ridge) / 4, max(*xs, machine.ridge) * 4
    peak, slope = machine.flops * 1e-9, machine.bandwidth * 1e-9
    areas = [max(_LEAST, _WHOLE * row.seconds / report.seconds) for row in rows]
    axes.plot([left, machine.ridge, right], [left * slope, peak, peak], color="#333333", linewidth=1.4, zorder=1)
    axes.scatter(xs, ys, s=areas, c=[DIRECTIONS[row.direction] for row in rows], alpha=0.75, linewidths=0, zorder=2)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(*ys, left * slope) / 2, 4 * max(*ys, peak)))
    axes.set_xlabel("FLOP per byte (least traffic: every array read and written once)")
    axes.text(machine.ridge, peak * 1.12, f"arithmetic: {peak:.0f} GFLOP/s", va="bottom", fontsize=9)
    return [math.sqrt(area / math.pi) for area in areas]


def _name_slope(axes: Axes, machine: Machine) -> None:
    """Write the memory bandwidth along the rising part of the bound."""
    slope, x = machine.bandwidth * 1e-9, math.sqrt(axes.get_xlim()[0] * machine.ridge)  # half way up
    (x0, y0), (x1, y1) = axes.transData.transform([(x, x * slope), (2 * x, 2 * x * slope)])
    axes.annotate(
        f"memory: {slope:.1f} GB/s",
        (x, x * slope),
        xytext=(-4, 4),
        textcoords="offset points",
        rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)),
        rotation_mode="anchor",
        ha="center",
        va="bottom",
        fontsize=9,
    )


def _draw_bars(axes: Axes, report: Report) -> None:
    """One bar per operation, its directions stacked; the longest on top, the shortest combined into one."""
    times: dict[str, dict[str, float]] = {}
    for row in report.by_op():
        times.setdefault(row.op, {})[row.direction] = row.seconds * 1e3
    ordered = sorted(times, key=lambda op: -sum(times[op].values()))
    shown, others = ordered[:_MOST_BARS], ordered[_MOST_BARS:]
    if others:
        together = {d: sum(times[op].get(d, 0.0) for op in others) for d in DIRECTIONS}
        times[name := f"{len(others)} others"] = together
        shown.append(name)
    ends = [0.0] * len(shown)
    for direction, color in DIRECTIONS.items():
        widths = [times[op].get(direction, 0.0) for op in shown]
        if any(widths):
            axes.barh(shown, widths, left=ends, color=color, label=direction or "outside", height=0.7)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for place, end in enumerate(ends):
        share = end / (report.seconds * 1e3)
        axes.annotate(f"{share:.1%}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the first on top
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.12 * max(ends))
    axes.set_xlabel(f"ms of a step of {report.seconds * 1e3:.2f} ms")
    axes.legend(loc="lower right", frameon=False)
