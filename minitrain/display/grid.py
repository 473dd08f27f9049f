"""A grid of shares with labels, the darker the larger, as an SVG around a small picture."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .markup import BLUE, MONO, Html, element, joined

WORDS = 7.0  # pixels of a letter, about
SMALLEST_LABELLED = 8.0  # pixels of a cell that can have a label of its own
LONGEST = 12  # characters of a label
NUMBERED = 24.0  # pixels of a cell that has room for a number


def heat_map(
    shares: NDArray[Any],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    cell: float,
    largest: float = 1.0,
    title: str = "",
) -> Html:
    """Draw shares as cells: 0 is invisible, the largest has the full color.

    Args:
        shares: (R, C), from 0 to ``largest``.
        rows: a label for each row.
        columns: a label for each column.
        cell: the size of a cell in pixels. Small cells have no labels, large ones have their share in percent.
        largest: the share with the full color.
        title: the text above the picture.
    """
    labelled = cell >= SMALLEST_LABELLED
    rows, columns = (([_cut(label) for label in labels] if labelled else []) for labels in (rows, columns))
    left = 8 + WORDS * max((len(label) for label in rows), default=0)
    turned = any(len(label) > 2 for label in columns)
    below = (8 + WORDS * max(map(len, columns)) if turned else 16) if columns else 4
    top, (height, width) = 20.0, (cell * size for size in shares.shape)
    size = min(11.0, cell)
    picture = {"x": left, "y": top, "width": width, "height": height, "preserveAspectRatio": "none"}
    parts = [
        element("text", title, x=left, y=13, fill="currentColor", font_size=12),
        element("image", href=_png(shares / largest), **picture, style="image-rendering:pixelated"),
        element("rect", x=left, y=top, width=width, height=height, fill="none", stroke="currentColor", opacity=0.3),
    ]
    for i, label in enumerate(rows):
        parts.append(_label(label, left - 5, top + (i + 0.5) * cell + size / 3, size, "end"))
    for j, label in enumerate(columns):
        x, y = left + (j + 0.5) * cell, top + height
        parts.append(
            _label(label, x + size / 3, y + 5, size, "end", transform=f"rotate(-90 {x + size / 3:.1f} {y + 5:.1f})")
            if turned
            else _label(label, x, y + 13, size, "middle")
        )
    if cell >= NUMBERED:
        parts += [
            _label(f"{100 * shares[i, j]:.0f}", left + (j + 0.5) * cell, top + (i + 0.5) * cell + 4, 10, "middle")
            for i, j in np.ndindex(shares.shape)
            if shares[i, j] >= 0.005
        ]
    wide, high = left + width + 2, top + height + below
    style = f"color:inherit;max-width:none;{MONO}"
    return element(
        "svg",
        joined(parts),
        width=f"{wide:.0f}",
        height=f"{high:.0f}",
        viewBox=f"0 0 {wide:.1f} {high:.1f}",
        style=style,
    )


def _label(text: str, x: float, y: float, size: float, anchor: str, **more: str) -> Html:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "font_size": f"{size:.1f}", "text_anchor": anchor}
    return element("text", text, **place, fill="currentColor", **more)


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def _png(shares: NDArray[Any]) -> str:
    """The shares as the opacity of one color, a pixel for each, in a ``data:`` address."""
    opacity = np.rint(255 * np.clip(np.nan_to_num(shares), 0, 1)).astype(np.uint8)
    height, width = opacity.shape
    color = [int(BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = color, opacity
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)  # each after the number of its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()
