"""The losses of a history as curves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.records import MetricsCollector
from minitrain.records.loss_curves import loss_curves
from tests.helpers.small_trainers import make
from tests.helpers.texts.html_checks import Page, page_of

values = st.lists(st.floats(0, 1e9) | st.sampled_from([math.nan, math.inf]), max_size=60)


@given(values, values)
def test_any_history_is_drawn(train: list[float], validation: list[float]) -> None:
    history = MetricsCollector()
    for step, loss in enumerate(train):
        history.update({"train_loss": loss, "<script>": 1.0}, step=step)
    for step, loss in enumerate(validation):
        history.update({"val_loss": loss}, step=3 * step)
    page = Page(loss_curves(history.curves()))
    for word, numbers in (("training", train), ("validation", validation)):
        finite = [loss for loss in numbers if math.isfinite(loss)]
        assert any(text.startswith(word) for text in page.texts) == bool(finite)
        assert not finite or f"{word} {finite[-1]:.4g}" in page.texts
    assert "svg" not in page_of(history).tags or "loss" in page.texts
    assert ("<script>" in page_of(history).texts) == bool(train)


def test_other_losses_are_drawn_where_there_are_no_usual_ones() -> None:
    history = MetricsCollector()
    history.update({"contrastive_loss": 2.0, "accuracy": 0.5}, step=1)
    assert "contrastive_loss 2" in Page(loss_curves(history.curves())).texts
    assert loss_curves({"accuracy": ([1], [0.5])}) == ""


@pytest.mark.parametrize("steps", [1, 8])
def test_the_result_of_a_training_shows_its_curves(steps: int) -> None:
    result = make(None, max_steps=steps).train()
    page = page_of(result)
    assert page.texts[0] == result.describe().splitlines()[0]
    assert any(text.startswith("training ") for text in page.texts)
    assert "svg" in page.tags
