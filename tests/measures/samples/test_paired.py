"""Paired tests: exact on few samples, quiet without a difference, and sensitive to a small one."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError
from minitrain.measures import (
    Accuracy,
    Chrf,
    ConfusionMatrix,
    ErrorRate,
    Perplexity,
    SampleTable,
    compare_samples,
    holm,
)
from tests.helpers.measuring.measured import classified


def table(measure: Any, rows: Any, data: str = "") -> SampleTable:
    return SampleTable({"m": measure}, {"m": np.asarray(rows, np.float64)}, {}, data)


def test_p_is_the_share_of_swaps_that_differ_as_much() -> None:
    a = np.array([[0, 3], [1, 2], [2, 4], [0, 2], [1, 3]], np.float64)
    b = np.array([[2, 3], [1, 2], [3, 4], [1, 2], [0, 3]], np.float64)
    differences = []
    for swap in product([False, True], repeat=5):
        first, second = np.where(np.array(swap)[:, None], b, a), np.where(np.array(swap)[:, None], a, b)
        differences.append(second[:, 0].sum() / second[:, 1].sum() - first[:, 0].sum() / first[:, 1].sum())
    found = compare_samples(table(ErrorRate(), a), table(ErrorRate(), b), resamples=4000)["m"]
    assert found.first == 4 / 14
    assert found.second == 7 / 14
    assert found.difference == found.second - found.first
    assert found.p == pytest.approx(np.mean(np.abs(differences) >= 3 / 14 - 1e-12), abs=0.03)


def test_equal_models_do_not_differ() -> None:
    rows = np.random.default_rng(0).random((20, 2))
    found = compare_samples(table(ErrorRate(), rows), table(ErrorRate(), rows), resamples=50)["m"]
    assert found[2:] == (0.0, 0.0, 1.0)
    assert found.difference == 0


def test_pairs_show_what_two_intervals_would_hide() -> None:
    nats = np.random.default_rng(1).exponential(3, 200)
    a, b = (np.stack([nats + add, np.ones(200)], axis=1) for add in (0.0, 0.02))
    b[::5, 0] -= 0.05
    found = compare_samples(table(Perplexity(), a), table(Perplexity(), b), resamples=400)["m"]
    assert found.p < 0.02
    assert 0 < found.low < found.difference < found.high
    turned = compare_samples(table(Perplexity(), b), table(Perplexity(), a), resamples=400)["m"]
    assert turned.difference == -found.difference
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    wide = compare_samples(table(Perplexity(), a), table(Perplexity(), b), resamples=400, level=0.5)["m"]
    assert found.low < wide.low < wide.high < found.high


def test_p_is_small_as_often_as_it_says() -> None:
    """Of equal models, at most one test in ten should have p of at most 0.1."""
    rng, small = np.random.default_rng(2), 0
    for _ in range(60):
        rows = np.stack([rng.random((2, 25)), np.ones((2, 25))], axis=-1)
        small += compare_samples(*(table(ErrorRate(), one) for one in rows), resamples=60)["m"].p <= 0.1
    assert small <= 13


def test_seeds_make_results_and_resamples_bound_p() -> None:
    a, b = (np.stack([np.full(30, value), np.ones(30)], axis=1) for value in (0.0, 1.0))
    found = compare_samples(table(ErrorRate(), a), table(ErrorRate(), b), resamples=9)
    assert found["m"] == (0.0, 1.0, 1.0, 1.0, 0.1)
    noisy = np.random.default_rng(3).random((9, 2))
    one, other = (compare_samples(table(ErrorRate(), noisy), table(ErrorRate(), noisy[::-1]), seed=s) for s in (0, 1))
    assert one != other
    assert one == compare_samples(table(ErrorRate(), noisy), table(ErrorRate(), noisy[::-1]))


def test_values_that_are_no_means() -> None:
    measure, (logits, targets) = ConfusionMatrix(4), classified(5, 60)
    better = logits + np.eye(4)[targets * (targets >= 0)]
    a, b = (table(measure, measure.rows(one, (None, targets))) for one in (logits, better))
    found = compare_samples(a, b, resamples=60)
    assert found["m_f1_macro"].p < 0.05
    assert found["m_f1_macro"].first == a.values()["m_f1_macro"]
    assert found.keys() == a.values().keys()


def test_corpus_scores() -> None:
    pytest.importorskip("sacrebleu")
    texts = [f"the cat number {i} sat on a mat" for i in range(12)]
    worse = [text.replace("sat on", "is") for text in texts]
    measure = Chrf()
    a, b = (table(measure, measure.rows(found, texts)) for found in (worse, texts))
    assert compare_samples(a, b, resamples=100)["m"].p < 0.05


def test_draws_without_a_value_are_left_out() -> None:
    some, whole = np.array([[1.0, 1], [0, 0], [0, 0]]), np.array([[1.0, 1], [0, 1], [1, 1]])
    for a, b in ((some, whole), (whole, some)):
        found = compare_samples(table(ErrorRate(), a), table(ErrorRate(), b), resamples=60)["m"]
        assert abs(found.difference) == pytest.approx(1 / 3)


def test_all_swapped_is_as_far_whatever_the_rounding() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a = np.stack([rng.random(7), np.full(7, 0.3)], axis=1)
        b = a + np.stack([rng.random(7), np.zeros(7)], axis=1)
        found = compare_samples(table(ErrorRate(), a), table(ErrorRate(), b), resamples=600, seed=seed)["m"]
        assert 0.004 < found.p < 0.04, "two of the 128 ways to swap are as far: none, and all"


def test_only_what_both_have_is_compared() -> None:
    rows = {"a": np.ones((3, 2)), "b": np.ones((3, 2)), "c": np.ones((3, 6))}
    one = SampleTable({"a": Accuracy(), "b": ErrorRate(), "c": Perplexity()}, rows)
    fewer = dict.fromkeys("bcd", rows["a"])
    other = SampleTable({"b": ErrorRate(), "c": Perplexity(), "d": Accuracy()}, fewer)
    assert compare_samples(one, other, resamples=2).keys() == {"b"}


def test_other_samples_are_refused() -> None:
    rows = np.ones((3, 2))
    with pytest.raises(DataError, match="on different data"):
        compare_samples(table(Accuracy(), rows, "a"), table(Accuracy(), rows, "b"))
    with pytest.raises(DataError, match="on 3 and 2 samples"):
        compare_samples(table(Accuracy(), rows), table(Accuracy(), rows[:2]))
    with pytest.raises(DataError, match="there are 1 samples"):
        compare_samples(table(Accuracy(), rows[:1]), table(Accuracy(), rows[:1]))
    with pytest.raises(ConfigError, match="level=2"):
        compare_samples(table(Accuracy(), rows), table(Accuracy(), rows), level=2)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.02]) == pytest.approx([1.0, 1.0, 0.06])
    assert holm([]) == []


@given(p=st.lists(st.floats(0, 1), max_size=6))
def test_holm_keeps_the_order_and_is_never_smaller(p: list[float]) -> None:
    found = holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, found, strict=True))
    assert [found[i] for i in np.argsort(p, kind="stable")] == sorted(found)
