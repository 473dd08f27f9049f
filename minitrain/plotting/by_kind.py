"""Pictures of a history: one file for each kind of metric."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import make_folder
from .curves import smooth
from .style import COLORS, TRAIN, VALIDATION, new_figures, save_figure, set_log_scale, set_step_range

Curve = tuple[Sequence[int], Sequence[float]]

SPEED = "tokens_per_second"
KINDS = (
    "loss",
    "perplexity",
    "accuracy",
    "rank",
    "recall",
    "lr",
    "grad_norm",
    "weight_norm",
    SPEED,
    "step_seconds",
    "alignment",
    "unwanted",
)
"""A metric belongs to the first of these that its name contains; what fits none is a kind of its own."""

TITLES = {"lr": "learning rate", "grad_norm": "norm of the gradient"}
LOGARITHMIC = {"grad_norm", "perplexity", "weight_norm"}


def plot_history(curves: Mapping[str, Curve], folder: str | Path, *, counted: str = "tokens") -> list[Path]:
    """Draw curves over the steps into ``folder``, one PNG for each kind of metric.

    Args:
        curves: steps and values by name.
        folder: made if it is not there.
        counted: the unit of ``tokens_per_second``, for the title of its picture.

    Returns:
        The files, ``loss.png`` and so on.

    Raises:
        DataError: if no curve has a value.
        FileError: if a file cannot be written.
    """
    drawable = {name: curve for name, curve in curves.items() if len(curve[1])}
    if not drawable:
        raise DataError("the history is empty: there is nothing to draw")
    folder = Path(folder)
    make_folder(folder)
    paths = []
    for kind, names in group(drawable).items():
        path = folder / f"{kind}.png"
        title = f"{counted} per second" if kind == SPEED else ""
        draw_kind(kind, {name: drawable[name] for name in names}, path, title=title)
        paths.append(path)
    return paths


def group(names: Mapping[str, object]) -> dict[str, list[str]]:
    """Names by kind, kinds in the order of their first names."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind = next((kind for kind in KINDS if kind in name), name)
        kinds.setdefault(kind, []).append(name)
    return kinds


def draw_kind(kind: str, curves: Mapping[str, Curve], path: Path, most: int = 8, *, title: str = "") -> None:
    """Draw the curves of one kind in one plot; of very many, the ``most`` highest at the end."""
    title = title or TITLES.get(kind, kind.replace("_", " "))
    names = list(curves)
    if len(names) > most:
        title = f"{title}: {most} highest of {len(names)}"
        names = sorted(names, key=lambda name: _rank(curves[name][1][-1]), reverse=True)[:most]
    figure, (axes,) = new_figures([(title, title.partition(":")[0])])
    own = [name for name in names if not name.startswith(("val_", "train_"))]
    alike = any(sum(name.startswith(side) for name in names) > 1 for side in ("val_", "train_"))  # each its own color
    for i, name in enumerate(names):
        steps, values = (np.asarray(part, np.float64) for part in curves[name])
        steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
        color = COLORS[i % 8]
        if not alike and name not in own:
            color = VALIDATION if name.startswith("val_") else TRAIN
        few = len(values) <= 40
        axes.plot(
            steps, values, "o-" if few else "-", color=color, alpha=1 if few else 0.25, linewidth=1.5, markersize=3
        )
        if not few:
            axes.plot(steps, smooth(values), color=color, linewidth=2)
        axes.plot([], [], color=color, linewidth=2, label=name)
    if kind in LOGARITHMIC and all(_positive(curves[name][1]) for name in names):
        set_log_scale(axes)
    set_step_range(axes, [step for name in names for step in curves[name][0]])
    if len(names) > 1:
        axes.legend(framealpha=0.9, edgecolor="none", fontsize=9)
    elif kind == "lr":
        axes.set_ylim(bottom=0)
    save_figure(figure, path)


def plot_histograms(
    steps: Sequence[int], edges: Mapping[str, Any], counts: Mapping[str, Sequence[Any]], path: Path
) -> None:
    """Draw histograms over the steps as maps, one for each name: the darker, the more values lie there.

    Args:
        steps: when the histograms were taken.
        edges: edges of the bins, (bins + 1,), by name.
        counts: by name, one array (bins,) for each step.
        path: the PNG to write.

    Raises:
        FileError: if the file cannot be written.
    """
    make_folder(path.parent)
    columns = min(3, len(edges))
    figure, plots = new_figures([(name, "value") for name in edges], columns=columns)
    for axes, name in zip(plots, edges, strict=True):
        share = np.stack(counts[name]).T.astype(np.float64)  # (bins, steps)
        share /= np.maximum(share.max(axis=0), 1)
        axes.pcolormesh(_borders(steps), edges[name], np.sqrt(share), cmap="Blues", rasterized=True)
        axes.grid(False)
        axes.set_title(name, loc="left", fontsize=9)
    save_figure(figure, path)


def _borders(steps: Sequence[int]) -> list[float]:
    """Where the column of each step begins and ends: half-way to its neighbours, and no further than the steps go."""
    if len(steps) == 1:
        return [steps[0] - 0.5, steps[0] + 0.5]
    between = [(left + right) / 2 for left, right in itertools.pairwise(steps)]
    return [float(steps[0]), *between, float(steps[-1])]


def _rank(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _positive(values: Sequence[float]) -> bool:
    return all(value > 0 for value in values if math.isfinite(value))
