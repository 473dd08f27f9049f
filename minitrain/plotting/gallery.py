"""A gallery: pictures next to each other, each with a few words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .style import VALIDATION, save_figure

COLUMNS = 6
LONGEST = 60
"""Characters of a line under an image."""


def plot_gallery(images: Sequence[Any], captions: Sequence[str], path: str | Path, *, title: str = "") -> None:
    """Draw images in rows of six.

    Args:
        images: uint8 ``(C, H, W)`` with C 1 or 3, of any sizes.
        captions: a line or a few for each.
        path: the PNG to write.
        title: what stands above.

    Raises:
        DataError: if there are no images, or not one caption for each.
        FileError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not images or len(images) != len(captions):
        raise DataError(f"a gallery needs images with a caption each; there are {len(images)} and {len(captions)}")
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.8 * columns + 0.4, 2.3 * rows + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontweight="bold")
    for number, (image, caption) in enumerate(zip(images, captions, strict=True), 1):
        axes = figure.add_subplot(rows, columns, number)
        pixels = np.asarray(image).transpose(1, 2, 0)
        axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(VALIDATION)
        # A name from somebody else is text, not mathematics.
        text = "\n".join(line[:LONGEST] for line in caption.replace("$", r"\$").splitlines())
        axes.set_xlabel(text, fontsize=7)
    save_figure(figure, path)
