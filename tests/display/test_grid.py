"""The picture in a grid has the shares as its opacity."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.image import imread
from numpy.typing import NDArray

from minitrain.display.grid import heat_map
from tests.helpers.texts.html_checks import Page

shares = arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 1))


@given(shares, st.floats(1, 40), st.text(max_size=20))
def test_shares_are_seen(values: NDArray[np.float64], cell: float, label: str) -> None:
    rows, columns = values.shape
    svg = heat_map(values, [label] * rows, ["k"] * columns, cell=cell, title=label)
    page = Page(svg)
    found = re.search(r"base64,([^\"]*)", svg)
    assert found is not None
    picture = imread(io.BytesIO(base64.b64decode(found[1])), format="png")  # (R, C, 4), from 0 to 1
    np.testing.assert_allclose(picture[..., 3], values, atol=0.5 / 255 + 1e-6)
    assert page.texts.count("k") == (columns if cell >= 8 else 0) + (label == "k") * page.texts.count("k")


def test_large_cells_have_their_share_as_a_number() -> None:
    page = Page(heat_map(np.array([[0.25, 0.75]]), ["q"], ["a", "b"], cell=30, largest=0.75))
    assert [text for text in page.texts if text.isdigit()] == ["25", "75"]
