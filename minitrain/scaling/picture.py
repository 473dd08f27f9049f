"""Efficiency against the number of GPUs, as a PNG file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plotting.style import COLORS, GUESS, TRAIN, VALIDATION, new_figures, save_figure
from .cluster import CLUSTERS
from .step import Plan, efficiency, step_on
from .tables import MODELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKS = tuple(1 << k for k in range(3, 13))
"""From 8 to 4,096."""


def draw_gpus(path: Path) -> Path:
    """Draw what is predicted for GPUs, in four plots; returns the path.

    Raises:
        FileError: if the file cannot be written.
    """
    titles = (
        "124M, 64 sequences a GPU: links",
        "124M on H100, InfiniBand: order of the sums",
        "124M, 512 sequences in all: where time goes",
        "1.3B on H100, InfiniBand: stages of ZeRO",
    )
    labels = ("efficiency", "efficiency", "ms of a step", "efficiency")
    figure, axes = new_figures(list(zip(titles, labels, strict=True)), xlabel="GPUs", columns=2)
    small, large, infiniband = MODELS["124M"], MODELS["1.3B"], CLUSTERS["H100, InfiniBand"]
    for color, (name, cluster) in zip(COLORS, CLUSTERS.items(), strict=False):
        _line(axes[0], [efficiency(cluster, small, Plan(count, 64)) for count in RANKS], name, color)
    orders = {
        "NCCL, overlap": Plan(8, 64),
        "NCCL, bfloat16 on the wire": Plan(8, 64, wire=2),
        "NCCL, no overlap": Plan(8, 64, overlap=False),
        "same bytes, by halving": Plan(8, 64, algorithm="halving"),
        "same bytes, by owners (as now)": Plan(8, 64, algorithm="direct"),
    }
    for color, (name, plan) in zip(COLORS, orders.items(), strict=False):
        _line(axes[1], [efficiency(infiniband, small, plan._replace(ranks=count)) for count in RANKS], name, color)
    _parts(axes[2])
    for color, stage in zip(COLORS, (0, 1, 2), strict=False):
        plans = [Plan(count, 2, micro_batches=4, stage=stage) for count in RANKS]
        _line(axes[3], [efficiency(infiniband, large, plan) for plan in plans], f"stage {stage}", color)
    for one in (axes[0], axes[1], axes[3]):
        one.set_ylim(0, 1.08)
        one.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    for one in axes:
        one.legend(frameon=False, fontsize=8)
    figure.suptitle("Predicted from published speeds; no GPU cluster was met", fontsize=10, color=GUESS)
    save_figure(figure, path)
    return path


def _parts(axes: Axes) -> None:
    """A step of a fixed global batch: its parts, one upon the other."""
    ranks = [count for count in RANKS if count <= 512]
    steps = [
        step_on(CLUSTERS["H100, InfiniBand"], MODELS["124M"], Plan(count, min(64, 512 // count))) for count in ranks
    ]
    parts = {"compute": "compute", "waiting for the slowest": "waiting", "messages": "exposed", "update": "update"}
    below = [0.0] * len(ranks)
    for color, (label, name) in zip((TRAIN, COLORS[3], VALIDATION, COLORS[2]), parts.items(), strict=True):
        above = [1e3 * getattr(step, name) for step in steps]
        axes.bar(range(len(ranks)), above, bottom=below, color=color, label=label, width=0.7)
        below = [one + more for one, more in zip(below, above, strict=True)]
    axes.set_xticks(range(len(ranks)), [str(count) for count in ranks])


def draw_measured(result: Mapping[str, Any], path: Path) -> Path:
    """Draw predictions beside measurements on this machine; returns the path.

    Raises:
        FileError: if the file cannot be written.
    """
    figure, (seconds, sent) = new_figures([("CPU seconds of a step", "ms"), ("bytes sent in a step", "MB")], "ranks", 2)
    rows = result["rows"]
    places = range(len(rows))
    below = [0.0] * len(rows)
    for color, name in zip(COLORS, rows[0]["parts"], strict=False):
        above = [1e3 * row["parts"][name] for row in rows]
        seconds.bar(places, above, bottom=below, color=color, label=name, width=0.6)
        below = [one + more for one, more in zip(below, above, strict=True)]
    seconds.plot(places, [1e3 * row["cpu_seconds"] for row in rows], "D", color="black", label="measured")
    sent.bar(places, [row["predicted_bytes"] / 1e6 for row in rows], color=TRAIN, label="predicted", width=0.6)
    sent.plot(places, [row["bytes"] / 1e6 for row in rows], "D", color="black", label="measured")
    for axes in (seconds, sent):
        axes.set_xticks(places, [str(row["ranks"]) for row in rows])
        axes.legend(frameon=False, fontsize=8)
    seconds.set_title(f"{result['machine']['cpu']}", loc="right", fontsize=8, color=GUESS)
    save_figure(figure, path)
    return path


def _line(axes: Axes, values: list[float], label: str, color: str) -> None:
    axes.plot(RANKS, values, "o-", markersize=3, color=color, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RANKS[::2], [f"{count:,}" for count in RANKS[::2]])
    axes.minorticks_off()
