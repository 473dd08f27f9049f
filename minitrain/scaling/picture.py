"""Efficiency against the number of GPUs, as a PNG file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plotting.style import COLORS, GUESS, TRAIN, VALIDATION, new_figures, save_figure
from .cluster import CLUSTERS, MEMORY
from .sharding import STAGES, bytes_of_activations, bytes_of_states
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
        "124M, 16 sequences a GPU: links",
        "the same on H100, InfiniBand: order of sums",
        "124M, 512 sequences in all: where time goes",
        "6.7B, 1 sequence: what a GPU must hold",
    )
    labels = ("efficiency", "efficiency", "share of a step", "GB")
    figure, axes = new_figures(list(zip(titles, labels, strict=True)), xlabel="GPUs", columns=2)
    small, large, infiniband = MODELS["124M"], MODELS["6.7B"], CLUSTERS["H100, InfiniBand"]
    for color, (name, cluster) in zip(COLORS, CLUSTERS.items(), strict=False):
        _line(axes[0], [efficiency(cluster, small, Plan(count, 16)) for count in RANKS], name, color)
    orders = {
        "NCCL, overlap": Plan(8, 16),
        "NCCL, bfloat16 on the wire": Plan(8, 16, wire=2),
        "NCCL, no overlap": Plan(8, 16, overlap=False),
        "same bytes, by halving (as now)": Plan(8, 16, algorithm="halving"),
        "same bytes, by owners": Plan(8, 16, algorithm="direct"),
    }
    for color, (name, plan) in zip(COLORS, orders.items(), strict=False):
        _line(axes[1], [efficiency(infiniband, small, plan._replace(ranks=count)) for count in RANKS], name, color)
    _parts(axes[2])
    activations = bytes_of_activations(large, 1)
    for color, stage in zip(COLORS, STAGES, strict=False):
        held = [(bytes_of_states(large.parameters, count, stage) + activations) / 1e9 for count in RANKS]
        _line(axes[3], held, f"stage {stage} of ZeRO", color)
    for card in ("H100", "H200", "B200"):
        axes[3].axhline(MEMORY[card] / 1e9, color=GUESS, linestyle="--", linewidth=1)
        axes[3].annotate(card, (1, MEMORY[card] / 1e9), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes[3].set_ylim(0, 260)  # room for the legend
    for one in axes[:2]:
        one.set_ylim(0, 1.08)
    for one in axes[:3]:
        one.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    for one in axes:
        one.legend(frameon=one is axes[2], fontsize=8)
    figure.suptitle("Predicted from published speeds; no GPU cluster was met", fontsize=10, color=GUESS)
    save_figure(figure, path)
    return path


def _parts(axes: Axes) -> None:
    """The parts of a step of a fixed global batch, one upon the other, and how long it takes."""
    ranks = [count for count in RANKS if count <= 512]
    steps = [
        step_on(CLUSTERS["H100, InfiniBand"], MODELS["124M"], Plan(count, min(64, 512 // count))) for count in ranks
    ]
    parts = {"compute": "compute", "waiting for the slowest": "waiting", "messages": "exposed", "update": "update"}
    below = [0.0] * len(ranks)
    for color, (label, name) in zip((TRAIN, COLORS[3], VALIDATION, COLORS[2]), parts.items(), strict=True):
        above = [getattr(step, name) / step.seconds for step in steps]
        axes.bar(range(len(ranks)), above, bottom=below, color=color, label=label, width=0.7)
        below = [one + more for one, more in zip(below, above, strict=True)]
    labels = [f"{count}\n{1e3 * step.seconds:.0f} ms" for count, step in zip(ranks, steps, strict=True)]
    axes.set_xticks(range(len(ranks)), labels)


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
