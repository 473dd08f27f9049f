"""Plots of any numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.display.lines import HEIGHT, MOST, WIDTH, Line, line_plot
from tests.helpers.texts.html_checks import Page

numbers = st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e-300])
points = st.lists(st.tuples(st.integers(0, 10**9), numbers), max_size=40)


@given(st.lists(points, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_any_points_give_a_plot_within_its_borders(
    curves: list[list[tuple[int, float]]], zero: bool, log: bool
) -> None:
    lines = [Line("<b>", *zip(*curve, strict=True)) if curve else Line("", [], []) for curve in curves]
    if not any(math.isfinite(y) for curve in curves for _, y in curve):
        with pytest.raises(ValueError, match="no finite point"):
            line_plot(lines, from_zero=zero, log=log)
        return
    svg = line_plot(lines, from_zero=zero, log=log)
    assert Page(svg).tags[0] == "svg"
    assert "nan" not in svg
    assert "inf" not in svg
    for path in re.findall(r'd="(M[-\d.]+ [^Hhv"]*)"', svg):
        for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path):
            assert -0.1 <= float(x) <= WIDTH + 0.1
            assert -0.1 <= float(y) <= HEIGHT + 0.1


def test_long_lines_are_thinned_by_means() -> None:
    steps = np.arange(100_000)
    svg = line_plot([Line("", steps, np.where(steps % 2, 1.0, 3.0)), Line("", [0, 1], [1.0, 3.0])])
    (path,) = (d for d in re.findall(r'd="([^"]*)"', svg) if d.count("L") > 5)
    assert path.count("L") < MOST
    heights = {float(y) for y in re.findall(r" ([\d.]+)", path)}
    assert max(heights) - min(heights) < 1, "each is the mean of ones and threes"


def test_a_logarithmic_axis_is_for_positive_values_that_differ_much() -> None:
    falling = Line("", [0, 1, 2], [100.0, 10.0, 1.0])
    assert ">10<" in line_plot([falling], log=True)
    straight = re.findall(r'd="(M[^"]*L[^"]*L[^"]*)"', line_plot([falling], log=True))[0]
    heights = [float(y) for y in re.findall(r" ([\d.]+)", straight)]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert line_plot([falling._replace(y=[1.0, 1.0, 0.0])], log=True) == line_plot(
        [falling._replace(y=[1.0, 1.0, 0.0])]
    )


def test_marks_are_shaded_and_named() -> None:
    page = Page(line_plot([Line("", range(10), range(10))], marks=[(0, 3, "warm-up")]))
    assert "rect" in page.tags
    assert "warm-up" in page.texts
