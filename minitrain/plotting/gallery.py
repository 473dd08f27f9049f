"""A gallery: pictures next to each other, each with a few words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .style import GUESS, RIGHT, VALIDATION, save_figure

COLUMNS = 6
LONGEST = 30
"""Characters of a line under an image; longer ones are wrapped."""
MOST_LINES = 6


def plot_gallery(
    images: Sequence[Any],
    captions: Sequence[str],
    path: str | Path,
    *,
    title: str = "",
    right: Sequence[bool] | None = None,
) -> None:
    """Draw images in rows of six.

    Args:
        images: uint8 ``(C, H, W)`` with C 1 or 3, of any sizes.
        captions: a line or a few for each.
        path: the PNG to write.
        title: the text above the picture.
        right: for each, whether the model was right, which its frame shows in green or red; ``None`` for grey frames.

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
    texts = [_wrapped(caption) for caption in captions]
    below = 0.15 * max(text.count("\n") + 1 for text in texts)  # inches
    figure = Figure(figsize=(1.8 * columns + 0.4, (1.9 + below) * rows + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontweight="bold")
    frames = [GUESS] * len(images) if right is None else [RIGHT if one else VALIDATION for one in right]
    for number, (image, text, frame) in enumerate(zip(images, texts, frames, strict=True), 1):
        axes = figure.add_subplot(rows, columns, number)
        pixels = np.asarray(image).transpose(1, 2, 0)
        axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(frame)
        axes.spines[:].set_linewidth(0.8 if right is None else 2)
        axes.set_xlabel(text, fontsize=7)
    save_figure(figure, path)


def _wrapped(caption: str) -> str:
    """The text under an image in lines that are as wide as it."""
    lines = [part for line in caption.splitlines() for part in textwrap.wrap(line, LONGEST) or [""]]
    # A name from somebody else is text, not mathematics.
    return "\n".join(lines[:MOST_LINES]).replace("$", r"\$")
