"""Losses without training, against the same sums written the slow way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import bits, uniform_nats, unigram_nats
from minitrain.data.tokens import baselines


@given(data=st.data(), vocab_size=st.integers(1, 20))
def test_unigram_is_the_smoothed_frequency(data: st.DataObject, vocab_size: int) -> None:
    ids = st.integers(0, vocab_size - 1)
    train, val = data.draw(st.lists(ids)), data.draw(st.lists(ids, min_size=2))
    expected = 0.0
    for token in val[1:]:
        expected -= math.log((train.count(token) + 1) / (len(train) + vocab_size)) / (len(val) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "CHUNK", data.draw(st.integers(1, 5)))
        found = unigram_nats(np.array(train, np.uint16), np.array(val, np.uint16), vocab_size)
    assert found == pytest.approx(expected, abs=1e-12)


def test_unigram_of_a_long_text_reaches_its_entropy() -> None:
    p = np.array([0.5, 0.25, 0.125, 0.125])
    ids = np.random.default_rng(0).choice(4, size=200_000, p=p)
    assert bits(unigram_nats(ids[:100_000], ids[100_000:], 4)) == pytest.approx(1.75, abs=0.01)


def test_uniform() -> None:
    assert uniform_nats(65) == math.log(65)
    assert bits(uniform_nats(256)) == pytest.approx(8)
    # With nothing to learn from, the unigram model is the uniform one.
    assert unigram_nats(np.zeros(0, int), np.arange(10), 10) == pytest.approx(uniform_nats(10))
