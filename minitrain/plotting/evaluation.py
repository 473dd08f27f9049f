"""Pictures of an evaluation: a confusion matrix, and a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .style import GUESS, TRAIN, VALIDATION, new_figures, save_figure

MOST_NUMBERS = 20
"""Of more classes, the cells have no numbers."""
MOST_NAMES = 40
"""Of more classes, only some have their names at the axes."""


def plot_confusion(
    matrix: Any, path: str | Path, *, names: Sequence[str] | None = None, title: str = "Confusion matrix"
) -> None:
    """Draw a confusion matrix: each row shows what the targets of a class were taken for, as shares of the row.

    Args:
        matrix: (V, V) counts; rows are targets, columns predictions. See `ConfusionMatrix.matrix`.
        path: the PNG to write.
        names: of the V classes; numbers by default.
        title: the text above the picture.

    Raises:
        DataError: if the matrix is not square, counts nothing, or has another number of classes than there are names.
        FileError: if the file cannot be written.
    """
    counts = np.asarray(matrix, np.float64)
    V = len(counts)
    if counts.shape != (V, V) or not counts.sum():
        raise DataError(
            f"a confusion matrix is (V, V) and counts something; this is {counts.shape}, sum {counts.sum()}"
        )
    labels = [str(name) for name in (range(V) if names is None else names)]
    if len(labels) != V:
        raise DataError(f"the confusion matrix has {V} classes, and there are {len(labels)} names")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axes,) = new_figures(
        [(f"{title}, {100 * np.trace(counts) / counts.sum():.1f} % right", "target")], "prediction"
    )
    side = min(14.0, max(5.0, 1.8 + 0.5 * V))
    figure.set_size_inches(side + 1, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=shares.max())
    figure.colorbar(image, ax=axes, label="share of the targets of a class", shrink=0.8)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    shown = np.arange(0, V, -(-V // MOST_NAMES))
    words = [labels[i] for i in shown]
    slanted = sum(map(len, words)) > 5 * side
    axes.set_xticks(shown, words, rotation=60 if slanted else 0, ha="right" if slanted else "center", fontsize=8)
    axes.set_yticks(shown, words, fontsize=8)
    if V <= MOST_NUMBERS:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[i, j] > shares.max() / 2 else "#333333"
                axes.text(j, i, _short(count), ha="center", va="center", color=color, fontsize=8)
    save_figure(figure, path)


def plot_reliability(table: Sequence[Any], path: str | Path, *, title: str = "Reliability") -> None:
    """Draw a reliability diagram: how often predictions of a confidence were right, and how many there are.

    On the diagonal, a model is as sure as it is right; bars below it are over-confident.

    Args:
        table: the bins, from `Calibration.table`.
        path: the PNG to write.
        title: the text above the picture.

    Raises:
        DataError: if no bin has a prediction.
        FileError: if the file cannot be written.
    """
    from matplotlib.ticker import AutoLocator

    bins: NDArray[np.float64] = np.array([tuple(one) for one in table], np.float64).reshape(-1, 5)
    above, to, predictions, confidence, accuracy = bins.T
    there = predictions > 0
    if not there.any():
        raise DataError("no bin of the calibration has a prediction: there is nothing to draw")
    share = predictions / predictions.sum()
    error = float((share * abs(accuracy - confidence))[there].sum())
    plots = [
        (f"{title}, calibration error {100 * error:.1f} %", "share that was right"),
        ("Predictions", "share of all"),
    ]
    figure, (upper, lower) = new_figures(plots, "confidence")
    width = to - above
    upper.bar(above[there], accuracy[there], width[there], align="edge", color=TRAIN, edgecolor="white", label="right")
    upper.bar(
        above[there],
        (confidence - accuracy)[there],
        width[there],
        bottom=accuracy[there],
        align="edge",
        color=VALIDATION,
        alpha=0.35,
        edgecolor="white",
        label="gap to the confidence",
    )
    upper.plot([0, 1], [0, 1], "--", color=GUESS, linewidth=1.2, label="as sure as right")
    upper.legend(loc="upper left", framealpha=0.9, edgecolor="none", fontsize=9)
    lower.bar(above, share, width, align="edge", color=TRAIN, edgecolor="white")
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(AutoLocator())
        axes.set_ylim(bottom=0)
    upper.set_ylim(0, 1)
    save_figure(figure, path)


def _short(count: float) -> str:
    """A count in at most five characters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}"[:4].rstrip(".") + letter
    return f"{count:.0f}"
