"""The checker's verdict as a table in a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.ops import registry
from minitrain.testing import GradientMismatch, check_gradients
from tests.helpers.texts.html_checks import page_of


def scale(x: Any, weight: Any, bias: Any) -> Any:
    return x * weight + bias, (x, weight)


def wrong(dout: Any, cache: Any) -> Any:
    return 2 * dout * cache[1], (dout * cache[0]).sum(0), dout


INPUTS = [np.random.default_rng(0).standard_normal(shape) for shape in ((4, 3), (3,), (3,))]


def test_right_gradients_are_rows() -> None:
    report = check_gradients(
        registry()["layer_norm"], np.random.default_rng(0).standard_normal((2, 4)), *np.ones((2, 4))
    )
    page = page_of(report)
    assert [page.texts.count(name) for name in ("x", "weight", "bias", "✓ right")] == [1, 1, 1, 3]
    assert f"{report.arguments[0].error:.1e}" in page.texts


def test_kinks_are_noted() -> None:
    report = check_gradients(registry()["relu"], np.array([0.0, 1.0, -1.0]))
    assert report.arguments[0].notes[0] in page_of(report).texts


def test_wrong_gradients_have_their_worst_element_and_a_cause() -> None:
    with pytest.raises(GradientMismatch) as caught:
        check_gradients((scale, wrong), *INPUTS)
    page = page_of(caught.value)
    by_name = {bad.name: bad for bad in caught.value.mismatches}
    assert page.texts.count("✗ wrong") == 2
    assert page.texts.count("✓ right") == 1
    assert str(list(by_name["x"].index or ())) in page.texts
    assert f"{by_name['x'].analytic:.6g}" in page.texts
    assert by_name["x"].hint in page.texts
    assert any("has shape (4, 3), but bias has shape (3,)" in text for text in page.texts)


def test_a_name_is_text() -> None:
    with pytest.raises(GradientMismatch) as caught:
        check_gradients((scale, wrong), *INPUTS)
    bad = caught.value.mismatches[0]
    shown = GradientMismatch((type(bad)(**{**vars(bad), "name": "<script>", "hint": "<b>"}),))
    assert "<script>" in page_of(shown).texts
