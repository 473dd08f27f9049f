"""Runs side by side: one table of their results and of the settings that differ, and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...folder import RunFolder
from ...folder.names import METRICS
from ...folder.not_a_run import not_a_run
from ...plotting.curves import smooth
from ...plotting.style import COLORS, new_figures, save_figure, set_step_range
from ...records.jsonl import read_metrics
from ..config import RunConfig
from ..python_run import counted_in, read_settings, written_settings


@dataclass(frozen=True)
class Comparison:
    """Some runs, next to each other.

    Attributes:
        names: the names of the runs' folders.
        rows: a metric or a setting by name, with one text for each run.
        best: index of the run with the lowest validation loss, if any has one.
        order: indices of the runs, the lowest validation loss first; those without one come last.
        curves: steps and values of ``loss`` and ``val_loss``, for each run.
    """

    names: list[str]
    rows: dict[str, list[str]]
    best: int | None
    order: list[int]
    curves: list[dict[str, Any]]


def compare_runs(run_dirs: Sequence[str | Path]) -> Comparison:
    """Read runs, finished or not, and put their metrics and differing settings next to each other.

    Args:
        run_dirs: two or more run folders.

    Raises:
        CheckpointError: if a folder is no run.
        FileError: if a file cannot be read.
    """
    folders = [RunFolder(run_dir) for run_dir in run_dirs]
    for folder in folders:
        if not folder.exists(METRICS):
            raise not_a_run(folder.path, METRICS)
    settings = [_flat(_settings(folder)) for folder in folders]
    counted = {counted_in(written_settings(folder)) for folder in folders}
    speed = f"{counted.pop() if len(counted) == 1 else 'targets'}/s"
    curves = [_curves(read_metrics(folder.file(METRICS))) for folder in folders]
    finals = [curve["val_loss"][1][-1] if len(curve["val_loss"][1]) else np.inf for curve in curves]
    rows = {
        "steps": [f"{curve['last']:,}" for curve in curves],
        "training loss": [_last(curve["loss"]) for curve in curves],
        "validation loss": [_last(curve["val_loss"]) for curve in curves],
        "best validation loss": [_best(curve["val_loss"]) for curve in curves],
        speed: [f"{np.median(curve['speed']):,.0f}" if len(curve["speed"]) else "-" for curve in curves],
        "seconds": [f"{curve['seconds']:,.0f}" for curve in curves],
    }
    keys = dict.fromkeys(key for one in settings for key in one)
    for key in keys:
        values = [one.get(key, "-") for one in settings]
        if key != "run_dir" and any(value != values[0] for value in values):
            rows[key] = ["null" if value is None else str(value) for value in values]
    order = [int(i) for i in np.argsort(np.nan_to_num(finals, nan=np.inf), kind="stable")]
    best = order[0] if np.isfinite(finals[order[0]]) else None
    return Comparison([folder.path.resolve().name for folder in folders], rows, best, order, curves)


def plot_comparison(comparison: Comparison, path: str | Path) -> Path:
    """Draw training and validation losses of all runs in one picture; returns the PNG file.

    Raises:
        FileError: if it cannot be written.
    """
    figure, plots = new_figures([("training loss, smoothed", "loss"), ("validation loss", "loss")])
    for axes, name in zip(plots, ("loss", "val_loss"), strict=True):
        for i, (label, curve) in enumerate(zip(comparison.names, comparison.curves, strict=True)):
            steps, values = curve[name]
            drawn = smooth(values) if name == "loss" else values
            axes.plot(steps, drawn, "-" if name == "loss" else "o-", color=COLORS[i % 8], linewidth=2, label=label)
        set_step_range(axes, [step for curve in comparison.curves for step in curve[name][0]])
    plots[0].legend(framealpha=0.9, edgecolor="none", fontsize=9)
    save_figure(figure, path)
    return Path(path)


def _settings(folder: RunFolder) -> dict[str, Any]:
    try:
        settings = read_settings(folder)
    except ConfigError:  # names of parts that only a --plugin registers; to be compared they need not be known
        return dict(written_settings(folder))
    return settings.to_dict() if isinstance(settings, RunConfig) else dict(settings)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _curves(records: list[dict[str, Any]]) -> dict[str, Any]:
    def series(name: str) -> tuple[Any, Any]:
        pairs = [(r["step"], r[name]) for r in records if _is_number(r.get("step")) and _is_number(r.get(name))]
        table = np.array(pairs, np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    return {
        "loss": series("loss"),
        "val_loss": series("val_loss"),
        "speed": series("tokens_per_second")[1],
        "seconds": max((r["seconds"] for r in records if _is_number(r.get("seconds"))), default=0.0),
        "last": max((int(r["step"]) for r in records if _is_number(r.get("step"))), default=0),
    }


def _is_number(value: object) -> bool:
    """Whether a value from a file of metrics can be drawn."""
    return type(value) in (int, float) and -1e300 < value < 1e300  # type: ignore[operator]


def _last(curve: tuple[Any, Any]) -> str:
    return f"{curve[1][-1]:.4f}" if len(curve[1]) else "-"


def _best(curve: tuple[Any, Any]) -> str:
    return f"{curve[1].min():.4f} at {curve[0][curve[1].argmin()]:.0f}" if len(curve[1]) else "-"
