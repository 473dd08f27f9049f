"""Lines over steps as an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .markup import BLUE, GREY, Html, element, joined

WIDTH, HEIGHT = 640.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 32.0, 34.0  # margins
MOST = 300  # points of a line; more are joined by their means
DOTS = 40  # a line of at most so many points shows them
LARGEST = 1e300  # larger values would overflow when the axis is laid out
LOG_RATIO = 8.0
"""Values that differ by more than this factor get a logarithmic axis, where the caller allows it."""


class Line(NamedTuple):
    """A line of a plot; points that are not finite are left out."""

    name: str  # in the legend, if it is not empty
    x: Sequence[float] | NDArray[Any]
    y: Sequence[float] | NDArray[Any]
    color: str = BLUE
    opacity: float = 1.0
    dots: bool = False


class _Axis(NamedTuple):
    """Maps values to places on the page, and knows where to write numbers."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def places(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        scaled = np.log(np.maximum(values, self.low)) if self.log else values
        placed: NDArray[np.float64] = self.start + (scaled - low) / (high - low) * (self.end - self.start)
        return placed

    def numbers(self) -> list[float]:
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**n for n in decades for m in (1, 2, 5) if self.low <= m * 10.0**n <= self.high]
            powers = [number for number in found if round(math.log10(number), 9) % 1 == 0]
            return powers[:: -(-len(powers) // 7)] if len(powers) > 3 else found
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step = next(step * m for m in (1, 2, 5, 10) if (self.high - self.low) / (step * m) <= 6)
        return [step * i for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def line_plot(
    lines: Sequence[Line],
    *,
    xlabel: str = "step",
    ylabel: str = "",
    marks: Sequence[tuple[float, float, str]] = (),
    from_zero: bool = False,
    log: bool = False,
) -> Html:
    """Draw lines.

    Args:
        lines: at least one with a finite point.
        xlabel: the meaning of the numbers below.
        ylabel: the meaning of the numbers on the left.
        marks: stretches to shade, from one place to another, each with a word.
        from_zero: whether the vertical axis begins at 0.
        log: whether it is logarithmic if all values are positive and differ much.

    Raises:
        ValueError: if there is nothing to draw.
    """
    drawn = [(line, *_thinned(line)) for line in lines]
    x, y = (np.concatenate([points[i] for points in drawn]) for i in (1, 2))
    if not x.size:
        raise ValueError("there is no finite point to draw")
    across = _Axis(*_range(x, 0.0), LEFT, WIDTH - RIGHT)
    logarithmic = log and y.min() > 0 and float(y.max()) > LOG_RATIO * float(y.min())
    low, high = _range(y, 0.0 if logarithmic else 0.05)
    low = 0.0 if from_zero and y.min() >= 0 else low
    up = _Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)
    parts = [
        *(_mark(*mark, across) for mark in marks),
        *_grid(across, up),
        *(_line(line, across.places(xs), up.places(ys)) for line, xs, ys in drawn if xs.size),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, xlabel, "middle", 0.7),
        _text(4, 14, ylabel, "start", 0.7),
        _legend([line for line in lines if line.name], LEFT + 7.0 * len(ylabel)),
    ]
    style = f"display:block;width:100%;min-width:400px;max-width:{WIDTH:.0f}px;height:auto;color:inherit"
    box = f"0 0 {WIDTH:.0f} {HEIGHT:.0f}"
    return element("svg", joined(parts), viewBox=box, role="img", style=style, font_size=11)


def _thinned(line: Line) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The finite points, at most `MOST`: means of equally many neighbours."""
    x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], np.clip(y[finite], -LARGEST, LARGEST)
    size = -(-len(x) // MOST)
    if size <= 1:
        return x, y
    starts = np.arange(0, len(x), size)
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def _range(values: NDArray[np.float64], margin: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    spread = high - low
    if spread <= 1e-12 * max(abs(low), abs(high)) or spread < 1 / LARGEST:
        spread = abs(low) if abs(low) > 1 / LARGEST else 1.0
        return low - spread / 2, high + spread / 2
    return low - margin * spread, high + margin * spread


def _grid(across: _Axis, up: _Axis) -> list[Html]:
    """Numbers, and a faint line at each."""
    parts = []
    numbers = up.numbers()
    for number, y in zip(numbers, up.places(np.array(numbers, np.float64)), strict=True):
        parts.append(_stroke(f"M{LEFT:.1f} {y:.1f}H{WIDTH - RIGHT:.1f}", GREY, 0.25, 1))
        parts.append(_text(LEFT - 6, y + 4, _number(number), "end", 0.8))
    numbers = [number for number in across.numbers() if number == round(number)]
    for number, x in zip(numbers, across.places(np.array(numbers, np.float64)), strict=True):
        parts.append(_stroke(f"M{x:.1f} {HEIGHT - BOTTOM:.1f}v4", GREY, 0.8, 1))
        parts.append(_text(x, HEIGHT - BOTTOM + 15, _number(number), "middle", 0.8))
    return parts


def _line(line: Line, x: NDArray[np.float64], y: NDArray[np.float64]) -> Html:
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
    parts = [_stroke(path, line.color, line.opacity, 1.8)]
    if len(x) == 1 or (line.dots and len(x) <= DOTS):
        points = zip(x, y, strict=True)
        parts += [element("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=2.6, fill=line.color) for a, b in points]
    return joined(parts)


def _mark(start: float, end: float, word: str, across: _Axis) -> Html:
    left, right = across.places(np.clip([start, end], across.low, across.high))
    shade = element(
        "rect",
        x=f"{left:.1f}",
        y=TOP,
        width=f"{right - left:.1f}",
        height=HEIGHT - BOTTOM - TOP,
        fill=GREY,
        opacity=0.15,
    )
    return joined([shade, _text(left, TOP - 3, word, "start", 0.8)])


def _legend(lines: Sequence[Line], start: float) -> Html:
    parts = []
    for line in lines:
        parts.append(_stroke(f"M{start + 6:.1f} 10h16", line.color, 1, 2.5))
        parts.append(_text(start + 27, 14, line.name, "start", 0.9))
        start += 42 + 6.2 * len(line.name)
    return joined(parts)


def _stroke(path: str, color: str, opacity: float, width: float) -> Html:
    return element(
        "path", d=path, fill="none", stroke=color, stroke_width=width, opacity=opacity, stroke_linejoin="round"
    )


def _text(x: float, y: float, text: str, anchor: str, opacity: float) -> Html:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text_anchor": anchor}
    return element("text", text, **place, fill="currentColor", opacity=opacity)


def _number(value: float) -> str:
    return (
        f"{value:,.4g}"
        if 1e-3 <= abs(value) < 1e4 or value == 0
        else f"{value:,.0f}"
        if abs(value) < 1e7 and abs(value) >= 1e4
        else f"{value:.3g}"
    )
