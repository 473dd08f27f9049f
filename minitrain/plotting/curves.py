"""Pictures of a run: the loss curve and the learning rate, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .style import GUESS, TRAIN, VALIDATION, new_figure, new_figures, save_figure, set_log_scale, set_step_range

Records = Sequence[Mapping[str, Any]]

LABEL_HEIGHT = 0.05
"""Height of the label of a line, as a share of the plot's."""
LOG_RATIO = 8.0
"""A loss that falls by more than this factor is drawn on a logarithmic axis."""


def plot_loss(
    records: Records, path: str | Path, *, baselines: Mapping[str, float] | None = None, title: str = "Loss"
) -> None:
    """Draw the loss over the steps: training, faint as logged and smoothed, and validation, next to baselines.

    Args:
        records: from `read_metrics`.
        path: the PNG to write.
        baselines: losses in nats per token by name, drawn as dashed lines.
        title: the text above the picture.

    Raises:
        DataError: if the records hold no loss.
        FileError: if the file cannot be written.
    """
    steps, loss = _series(records, "loss")
    val_steps, val_loss = _series(records, "val_loss")
    if not steps.size and not val_steps.size:
        raise DataError("the metrics hold no loss yet; train for at least one step")
    figure, axes = new_figure(title, "loss (nats per token)")
    if steps.size:
        axes.plot(steps, loss, color=TRAIN, alpha=0.25, linewidth=1)
        marker = "o" if len(steps) == 1 else ""  # a line through one point cannot be seen
        axes.plot(steps, smooth(loss), marker=marker, color=TRAIN, linewidth=2, label="training, smoothed")
    for label, style, part in _validations(records):
        at, losses = _series(part, "val_loss")
        axes.plot(at, losses, style, color=VALIDATION, linewidth=1.5, label=f"{label} (last {losses[-1]:.3f})")
    everything = np.concatenate([loss, val_loss])
    lowest = float(np.nanmin(everything)) if np.isfinite(everything).any() else math.nan
    levels = baselines or {}
    for nats in levels.values():
        axes.axhline(nats, color=GUESS, linestyle="--", linewidth=1.2)
    drawn = [*everything[np.isfinite(everything)], *levels.values()]
    for text, nats in _labels(levels, LABEL_HEIGHT * (max(drawn, default=0) - min(drawn, default=0))):
        axes.annotate(
            text,
            xy=(1, nats),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=GUESS,
            fontsize=9,
        )
    if lowest > 0 and float(np.nanmax(everything)) / lowest > LOG_RATIO:
        set_log_scale(axes)
    set_step_range(axes, [*steps, *val_steps])
    axes.legend(loc="lower left", framealpha=0.9, edgecolor="none")  # where a falling curve leaves room
    save_figure(figure, path)


def plot_learning_rate(records: Records, path: str | Path, *, title: str = "Learning rate") -> None:
    """Draw the learning rate of the logged updates.

    Args:
        records: from `read_metrics`.
        path: the PNG to write.
        title: the text above the picture.

    Raises:
        DataError: if the records hold no learning rate.
        FileError: if the file cannot be written.
    """
    steps, rate = _series(records, "lr")
    if not steps.size:
        raise DataError("the metrics hold no learning rate yet; train for at least one step")
    figure, axes = new_figure(title, "learning rate")
    axes.plot(steps, rate, marker="o" if len(steps) == 1 else "", color=TRAIN, linewidth=2)
    axes.fill_between(steps, rate, color=TRAIN, alpha=0.08)
    axes.set_ylim(bottom=0)
    set_step_range(axes, [*steps])
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    save_figure(figure, path)


def plot_epochs(curves: Mapping[str, Sequence[float]], path: str | Path) -> Path:
    """Draw metrics with one value an epoch, losses and perplexities in plots of their own.

    Args:
        curves: values by name, such as ``train_loss``; names with the same end share a plot.
        path: the PNG to write.

    Raises:
        DataError: if there is nothing to draw.
        FileError: if the file cannot be written.
    """
    kinds = sorted({name.removeprefix("train_").removeprefix("val_") for name, values in curves.items() if values})
    if not kinds:
        raise DataError("there is no history yet: train for at least one epoch")
    figure, plots = new_figures([(kind.replace("_", " "), kind.replace("_", " ")) for kind in kinds], xlabel="epoch")
    for kind, axes in zip(kinds, plots, strict=True):
        for name, color in ((f"train_{kind}", TRAIN), (f"val_{kind}", VALIDATION), (kind, TRAIN)):
            if values := curves.get(name):
                label = "validation" if name.startswith("val_") else "training"
                axes.plot(range(1, len(values) + 1), values, "o-", color=color, linewidth=2, markersize=4, label=label)
        set_step_range(axes, range(1, 1 + max(len(values) for name, values in curves.items() if name.endswith(kind))))
        if f"val_{kind}" in curves:
            axes.legend(framealpha=0.9, edgecolor="none")
    save_figure(figure, path)
    return Path(path)


def _labels(levels: Mapping[str, float], height: float) -> list[tuple[str, float]]:
    """The labels of lines and where they stand; lines that are nearer than a label is high share one."""
    found: list[tuple[str, float]] = []
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        text = f"{name} {level:.3f}"
        if found and level - found[-1][1] < height:
            text = f"{found.pop()[0]}, {text}"
        found.append((text, level))
    return found


def _validations(records: Records) -> list[tuple[str, str, Records]]:
    """Label, style and records of the validation losses.

    A run may evaluate on a part of the split on its way and on all of it at the end. The two are not one curve.
    """
    found = [record for record in records if "val_loss" in record]
    most = max((record.get("val_tokens", 0) for record in found), default=0)
    whole = [record for record in found if record.get("val_tokens", 0) == most]
    partial = [record for record in found if record.get("val_tokens", 0) != most]
    if not partial:
        return [("validation", "o-", whole)] if whole else []
    return [("validation, a part", "o-", partial), ("validation, all", "D", whole)]


def _series(records: Records, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of the records that have ``name``."""
    pairs = [(record["step"], record[name]) for record in records if name in record and "step" in record]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the points around each one; the first ones, where losses fall steeply, have less around them."""
    reach = len(values) // 40
    at = np.arange(len(values))
    left = np.minimum(reach, at)
    right = np.minimum(left, len(values) - 1 - at)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    smooth: NDArray[np.float64] = (sums[at + right + 1] - sums[at - left]) / (left + 1 + right)
    return smooth
