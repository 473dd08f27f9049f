"""Attention over tokens: the captured weights, one grid for each head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain import GPT, GPTConfig
from minitrain.errors import ConfigError, ShapeError
from minitrain.inside import AttentionView, capture
from tests.helpers.texts.html_checks import page_of

HOSTILE = ["<script>", "</text>", "&", "\n", "\u202e", "a long label of a token"]


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 5), st.integers(0, 99))
def test_every_head_has_a_grid(heads: int, queries: int, more: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.ones(queries + more), (heads, queries))
    tokens = [HOSTILE[i % len(HOSTILE)] for i in range(queries + more)]
    page = page_of(AttentionView(weights, tokens))
    assert page.tags.count("image") == heads
    assert [text for text in page.texts if text.startswith("head ")] == [f"head {head}" for head in range(heads)]
    last = AttentionView(weights, tokens, head=heads - 1)
    assert f"head {heads - 1}" in page_of(last).texts
    np.testing.assert_array_equal(last.patterns, weights[-1:])


def test_what_was_captured_is_shown() -> None:
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8))
    with capture(model, "blocks.0.attention.weights") as seen:
        model.forward(np.array([[1, 2, 3]]))
    view = AttentionView(seen["blocks.0.attention.weights"], "a b", title="block 0")
    assert repr(view) == "<AttentionView of 2 heads, 3 queries, 3 keys>"
    texts = page_of(view).texts
    assert "block 0" in texts
    assert texts.count("·") == 4, "a label of a row and of a column for each head"
    assert "the strongest color is 100%" in texts[-1]


def test_shares_are_in_percent_whatever_the_largest_is() -> None:
    texts = page_of(AttentionView(np.full((2, 4), 0.25), "abcd", queries="xy")).texts
    assert texts.count("25") == 8
    assert "x" in texts


def test_what_does_not_fit_is_refused() -> None:
    weights = np.full((2, 3, 3), 1 / 3)
    with pytest.raises(ShapeError, match=r"not \(H, T, S\)"):
        AttentionView(np.stack([weights, weights]), "abc")
    with pytest.raises(ShapeError, match="2 tokens for 3 keys"):
        AttentionView(weights, "ab")
    with pytest.raises(ShapeError, match="1 labels for 3 queries"):
        AttentionView(weights, "abc", queries="a")
    with pytest.raises(ConfigError, match="head = 2 must be one of 0 to 1"):
        AttentionView(weights, "abc", head=2)
