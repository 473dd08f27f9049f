"""Pictures of features of images and texts: the cosines of pairs, and all of them in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .style import GUESS, TRAIN, VALIDATION, new_figures, save_figure

LONGEST = 34
"""Characters of a name at an axis."""


def plot_similarities(cosines: Any, names: Sequence[str], path: str | Path, *, title: str = "Cosines") -> None:
    """Draw the cosines of images and texts; the diagonal has what belongs together.

    Args:
        cosines: (N, N), a row for each image and a column for each text.
        names: of the N pairs.
        path: the PNG to write.
        title: the text above the picture.

    Raises:
        DataError: if the matrix is not square, or there is not a name for each row.
        FileError: if the file cannot be written.
    """
    values = np.asarray(cosines, np.float64)
    N = len(names)
    if values.shape != (N, N) or not N:
        raise DataError(f"cosines of {N} pairs are ({N}, {N}); these are {values.shape}")
    figure, (axes,) = new_figures([(title, "image")], "text")
    side = min(13.0, max(5.0, 2.5 + 0.27 * N))
    figure.set_size_inches(side + 1, side)
    image = axes.imshow(values, cmap="viridis")
    figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    words = [name[:LONGEST].replace("$", r"\$") for name in names]
    axes.set_xticks(range(N), words, rotation=70, ha="right", fontsize=6)
    axes.set_yticks(range(N), words, fontsize=6)
    save_figure(figure, path)


def plot_embeddings(planes: Mapping[str, Any], count: int, path: str | Path, *, title: str = "Features") -> None:
    """Draw features of images and texts in a plane, with a line between what belongs together.

    Args:
        planes: by the name of the method, coordinates (2 N, 2), those of the N images first.
        count: N.
        path: the PNG to write.
        title: the text above the picture.

    Raises:
        DataError: if the coordinates are not (2 N, 2).
        FileError: if the file cannot be written.
    """
    figure, plots = new_figures([(f"{title}: {name}", "") for name in planes], "")
    for axes, (name, values) in zip(plots, planes.items(), strict=True):
        points = np.asarray(values, np.float64)
        if points.shape != (2 * count, 2):
            raise DataError(f"{name} has coordinates {points.shape} for {count} images and texts: give (2 N, 2)")
        images, texts = points[:count], points[count:]
        axes.plot(*np.stack([images, texts, np.full_like(texts, np.nan)], axis=1).reshape(-1, 2).T, color=GUESS, lw=0.3)
        axes.scatter(images[:, 0], images[:, 1], s=8, color=TRAIN, label="image", zorder=2)
        axes.scatter(texts[:, 0], texts[:, 1], s=8, color=VALIDATION, marker="s", label="text", zorder=3)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(frameon=False)
    figure.set_size_inches(6 * len(plots), 5.5)
    save_figure(figure, path)
