"""Places labels beside points so that they overlap neither each other nor a point, a line or a text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_DIRECTIONS = ((1, 0), (-1, 0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7), (0, 1), (0, -1))
_DISTANCES = (3, 10, 20, 32, 46, 62, 80)  # points between the rim of a point and its label
_SIZE = 8  # of the letters, in points


def label_points(
    axes: Axes, names: Sequence[str], xs: Sequence[float], ys: Sequence[float], radii: Sequence[float]
) -> None:
    """Write a name beside each point where there is room, as near as possible, in the given order.

    The figure's layout must be final. A label that is not next to its point is connected to it by a thin line; a label
    without room is left out.

    Args:
        axes: axes with final scales and limits.
        names: the labels.
        xs: x coordinates of the points, in data units.
        ys: y coordinates.
        radii: radii of the points, in typographic points.
    """
    from matplotlib.transforms import Bbox

    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    pixels = renderer.points_to_pixels(1.0)
    taken: list[Bbox] = []
    for (x, y), radius in zip(axes.transData.transform(list(zip(xs, ys, strict=True))), radii, strict=True):
        r = 0.8 * radius * pixels  # of a disc, not of the square around it
        taken.append(Bbox.from_extents(x - r, y - r, x + r, y + r))
    taken += [text.get_window_extent(renderer) for text in axes.texts]
    taken += [box for line in axes.lines for box in _along(axes.transData.transform(line.get_xydata()))]
    room = axes.get_window_extent(renderer)
    for i, name in enumerate(names):
        width, height = _size_of(name, axes, renderer)
        x, y = axes.transData.transform((xs[i], ys[i]))
        for distance, (dx, dy) in itertools.product(_DISTANCES, _DIRECTIONS):
            reach = (radii[i] + distance) * pixels
            # The side or corner of the label that faces the point is ``reach`` away from it.
            left, bottom = x + dx * reach - width * (1 - _sign(dx)) / 2, y + dy * reach - height * (1 - _sign(dy)) / 2
            box = Bbox.from_bounds(left, bottom, width, height)
            if _inside(box, room) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                tie = {"arrowstyle": "-", "lw": 0.6, "color": "#999999"} if distance > _DISTANCES[0] else None
                offset = ((left - x) / pixels, (bottom - y) / pixels)
                axes.annotate(
                    name,
                    (xs[i], ys[i]),
                    offset,
                    textcoords="offset points",
                    va="bottom",
                    fontsize=_SIZE,
                    arrowprops=tie,
                )
                break


def _size_of(name: str, axes: Axes, renderer: Any) -> tuple[float, float]:
    """Width and height of a label in pixels."""
    text = axes.text(0.5, 0.5, name, fontsize=_SIZE, transform=axes.transAxes)
    box = text.get_window_extent(renderer)
    text.remove()
    return box.width, box.height


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def _along(corners: Array, count: int = 200) -> list[Bbox]:
    """Small boxes along the lines between the corners (N, 2), in pixels."""
    from matplotlib.transforms import Bbox

    boxes = []
    for start, end in itertools.pairwise(corners):
        for x, y in np.linspace(start, end, count):
            boxes.append(Bbox.from_extents(x - 1, y - 1, x + 1, y + 1))
    return boxes


def _inside(box: Bbox, room: Bbox) -> bool:
    return bool(box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1)
