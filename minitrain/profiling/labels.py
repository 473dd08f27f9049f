"""Labels beside points that cover neither each other, nor a point, a line or a text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..backend.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_DIRECTIONS = ((1, 0), (-1, 0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7), (0, 1), (0, -1))
_DISTANCES = (3, 10, 20, 32, 46, 62, 80)  # points between the rim of a point and its label
_SIDES = {-1: "right", 0: "center", 1: "left"}
_HEIGHTS = {-1: "top", 0: "center", 1: "bottom"}


def label_points(
    axes: Axes, names: Sequence[str], xs: Sequence[float], ys: Sequence[float], radii: Sequence[float]
) -> None:
    """Write a name beside each point where there is room, as near as can be; the first are served first.

    The figure's layout must be final. A label that is not next to its point is tied to it by a thin line; one that has
    no room anywhere is left out.

    Args:
        axes: whose scales and limits are set.
        names: the labels.
        xs: places of the points, in data.
        ys: the same.
        radii: of the points, in typographic points.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = axes.get_figure(root=True).canvas.get_renderer()  # type: ignore[union-attr]
    pixels = renderer.points_to_pixels(1.0)
    taken: list[Bbox] = []
    for (x, y), radius in zip(axes.transData.transform(list(zip(xs, ys, strict=True))), radii, strict=True):
        r = 0.8 * radius * pixels  # of a disc, not of the square around it
        taken.append(Bbox.from_extents(x - r, y - r, x + r, y + r))
    taken += [text.get_window_extent(renderer) for text in axes.texts]
    taken += [box for line in axes.lines for box in _along(axes.transData.transform(line.get_xydata()))]
    room = axes.get_window_extent(renderer)
    for i, name in enumerate(names):
        for distance, (dx, dy) in itertools.product(_DISTANCES, _DIRECTIONS):
            reach = radii[i] + distance
            label = axes.annotate(
                name,
                (xs[i], ys[i]),
                xytext=(dx * reach, dy * reach),
                textcoords="offset points",
                ha=_SIDES[(dx > 0) - (dx < 0)],
                va=_HEIGHTS[(dy > 0) - (dy < 0)] if abs(dy) == 1 else "center",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "lw": 0.6, "color": "#999999"} if distance > _DISTANCES[0] else None,
            )
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer)  # of the words alone, without the line
            if _inside(box, room) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


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
