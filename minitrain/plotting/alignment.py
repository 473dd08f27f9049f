"""Which source tokens a translator looks at for each target token: a matrix for each pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .style import save_figure

LONGEST = 18
"""Characters of a token at the axes."""
CELL = 0.2
"""Inches of a cell."""


def plot_alignment(
    alignments: Sequence[tuple[Sequence[str], Sequence[str], Any]],
    path: str | Path,
    *,
    title: str = "Cross-attention",
) -> None:
    """Draw a matrix for each pair, one below the other: source tokens across, target tokens down.

    The darker a cell, the more the target token of its row takes from the source token of its column. Spaces are shown
    as ``·``.

    Args:
        alignments: the source's tokens, the target's tokens, and weights (T, S), or (L, T, S) for the mean over layers.
            `minitrain.tasks.align` makes them.
        path: the PNG to write.
        title: the text above the picture.

    Raises:
        DataError: if there are no pairs, or the weights do not fit the tokens.
        FileError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not alignments:
        raise DataError("a picture of alignments needs a pair of texts")
    pairs = [(source, target, _matrix(source, target, weights)) for source, target, weights in alignments]
    heights = [CELL * len(target) + 1.2 for _, target, _ in pairs]
    width = max(4.0, 1.6 + CELL * max(len(source) for source, _, _ in pairs))
    figure = Figure(figsize=(width, sum(heights) + 0.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontweight="bold")
    grid = figure.add_gridspec(len(pairs), 1, height_ratios=heights)
    for row, (source, target, matrix) in enumerate(pairs):
        axes = figure.add_subplot(grid[row])
        axes.imshow(matrix, cmap="Blues", vmin=0, vmax=max(float(matrix.max()), 1e-12))
        axes.set_anchor("W")
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(source)), [_shown(token) for token in source], rotation=90, fontsize=8)
        axes.set_yticks(range(len(target)), [_shown(token) for token in target], fontsize=8)
        axes.set_xticks(np.arange(len(source) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(target) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#dddddd", linewidth=0.5)
        axes.tick_params(length=0, which="both")
        axes.spines[:].set_visible(False)
    save_figure(figure, path)


def _matrix(source: Sequence[str], target: Sequence[str], weights: Any) -> Any:
    """The weights (T, S)."""
    values = np.asarray(weights, np.float64)
    if values.ndim == 3 and len(values):
        values = values.mean(axis=0)
    if values.shape != (len(target), len(source)) or not values.size:
        raise DataError(
            f"weights are {np.shape(weights)} for {len(target)} target tokens and {len(source)} source tokens"
        )
    return values


def _shown(token: str) -> str:
    """A token as a label: a name from somebody else is text, not mathematics."""
    text = "".join(letter if letter.isprintable() else "?" for letter in token[:LONGEST].replace("\n", "¶"))
    return text.replace(" ", "·").replace("$", r"\$")
