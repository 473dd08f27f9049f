"""Where a model looks in images: a weight for each patch, next to what it writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .style import save_figure


def plot_patches(
    images: Sequence[Any],
    looks: Sequence[Sequence[tuple[str, Any]]],
    path: str | Path,
    *,
    title: str = "Attention over the patches",
) -> None:
    """Draw each image in a row: itself, and once for each word, darkened where the model looks less.

    Args:
        images: uint8 ``(C, H, W)`` with C 1 or 3.
        looks: for each image, words with weights (n * n,) of its patches, row by row from the top left.
        path: the PNG to write.
        title: the text above the picture.

    Raises:
        DataError: if there are no images, not one list for each, or weights of no square.
        FileError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not images or len(images) != len(looks):
        raise DataError(f"attention needs images with words each; there are {len(images)} and {len(looks)}")
    columns = 1 + max(map(len, looks))
    figure = Figure(figsize=(1.25 * columns + 0.3, 1.55 * len(images) + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontweight="bold")
    for row, (image, words) in enumerate(zip(images, looks, strict=True)):
        pixels = np.asarray(image, np.float64).transpose(1, 2, 0) / 255
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        for column, (word, weights) in enumerate([("", None), *words]):
            axes = figure.add_subplot(len(images), columns, row * columns + column + 1)
            shown = pixels if weights is None else pixels * _light(weights, pixels.shape[:2])[..., None]
            axes.imshow(shown)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(word.strip()[:16].replace("$", r"\$"), fontsize=7)
    save_figure(figure, path)


def _light(weights: Any, shape: tuple[int, ...]) -> Any:
    """Brightness (H, W) from 0.15 to 1: the largest weight is bright."""
    values = np.asarray(weights, np.float64)
    n = math.isqrt(values.size)
    if n * n != values.size:
        raise DataError(f"{values.size} weights are no square of patches")
    grid = values.reshape(n, n) / max(float(values.max()), 1e-12)
    rows, columns = (np.arange(size) * n // size for size in shape)
    return 0.15 + 0.85 * grid[rows][:, columns]
