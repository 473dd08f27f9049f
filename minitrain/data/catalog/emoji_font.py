"""Emoji drawn from a colour font."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, printable
from ...files import sha256_of
from ..records.base import Records, digest
from ..records.broken import BrokenItems

SIZE = 64
"""Height and width of a drawing."""


class FontDrawings(Records):
    """Drawings of emoji by a font of coloured layers (COLR); ``image`` is uint8 ``(3, 64, 64)``.

    An emoji can be several characters, such as the two letters of a flag, which the font draws as one picture.

    Attributes:
        path: the font.
    """

    def __init__(self, path: Path, rows: Sequence[dict[str, Any]]) -> None:
        """Open the font.

        Args:
            path: the font.
            rows: the other columns of each record; ``emoji`` is the text to draw.

        Raises:
            DataError: if it is no font, there are no rows, or Pillow cannot join characters.
        """
        from PIL import ImageFont, features

        self.path, self._rows = path, list(rows)
        if not rows:
            raise DataError(f"there is no character to draw from {path}")
        if not features.check("raqm"):
            raise DataError(
                "this Pillow was built without Raqm, which joins the characters of an emoji: pip install "
                "--force-reinstall --only-binary :all: pillow"
            )
        try:
            self._font = ImageFont.truetype(str(path), SIZE, layout_engine=ImageFont.Layout.RAQM)
        except (OSError, ValueError) as error:
            raise DataError(printable(f"cannot use {path}: it is no font that can be read ({error})")) from error
        self.columns, self.broken = ("image", *rows[0]), BrokenItems()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Drawing ``index``, scaled to fill the image, on white."""
        from PIL import Image, ImageDraw

        row = self._rows[self._checked(index)]
        left, top, right, bottom = self._font.getbbox(row["emoji"])
        side = max(1, int(np.ceil(max(right - left, bottom - top))))
        canvas = Image.new("RGB", (side, side), (255, 255, 255))
        place = ((side - right - left) / 2, (side - bottom - top) / 2)
        ImageDraw.Draw(canvas).text(place, row["emoji"], fill=(0, 0, 0), font=self._font, embedded_color=True)
        pixels = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        return {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)), **row}

    def without_image(self, index: int) -> dict[str, Any]:
        """The other columns of record ``index``."""
        return dict(self._rows[self._checked(index)])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the font and the other columns."""
        return digest("font", sha256_of(self.path), json.dumps(self._rows, sort_keys=True))
