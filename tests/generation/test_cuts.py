"""Top-k, top-p, min-p and typical sampling: what each keeps, and that it is the smallest set that does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.generation.processors import cuts, keep_min_p, keep_top_k, keep_top_p, keep_typical
from minitrain.generation.processors.cuts import largest

SCORES = st.lists(st.floats(-6, 6) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=12)
HOLES = st.lists(st.floats(-6, 6) | st.sampled_from([0.0, -math.inf]), min_size=1, max_size=12).filter(
    lambda row: max(row) > -math.inf
)
SHARES = st.floats(0.011, 0.989).map(lambda p: round(p, 2) + 0.0012345)  # equal scores never sum up to exactly that


@pytest.fixture(scope="module", params=[3, 256], ids=["large vocabulary", "small vocabulary"], autouse=True)
def few(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways to find the largest scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "FEW", request.param)
        yield


def probabilities(scores: list[float]) -> Any:
    weight = np.exp(np.array(scores) - max(scores))
    return weight / weight.sum()


@given(values=st.lists(st.integers(-3, 3) | st.just(-math.inf), min_size=1, max_size=12), n=st.integers(0, 14))
def test_the_largest_values_in_order(values: list[float], n: int) -> None:
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:n]
    assert largest(np.array(values, np.float64), n).tolist() == expected


@given(scores=SCORES, k=st.integers(1, 14))
def test_top_k_keeps_k_of_the_largest(scores: list[float], k: int) -> None:
    kept = keep_top_k(np.array(scores), k).tolist()
    assert kept == sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k])


@given(scores=HOLES, p=SHARES)
def test_top_p_keeps_the_smallest_set_that_reaches_the_share(scores: list[float], p: float) -> None:
    share = probabilities(scores)
    kept = keep_top_p(np.array(scores), p).tolist()
    assert kept == sorted(kept)
    assert share[kept].sum() >= p - 1e-12
    assert share[kept].sum() - share[kept].min() < p, "one less does not reach it"
    out = [i for i in range(len(scores)) if i not in kept]
    least = min(scores[i] for i in kept)
    assert all(scores[i] <= least for i in out)
    assert all(i > max(j for j in kept if scores[j] == least) for i in out if scores[i] == least)


def test_top_p_of_everything_keeps_everything() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):  # rounded sums must not lose the last token
        scores = rng.normal(size=20)
        assert keep_top_p(scores, 1.0).size == 20


def test_top_p_ranks_by_the_scores() -> None:
    """Also where two of them are equally likely up to rounding."""
    assert keep_top_p(np.array([-1e-30, 0.0]), 0.3).tolist() == [1]
    assert keep_top_p(np.array([0.0, -1e-30]), 0.3).tolist() == [0]


def test_a_wide_top_p_looks_further_and_further() -> None:
    scores = np.zeros(700)
    assert keep_top_p(scores, 0.5).tolist() == list(range(350))
    assert keep_top_p(scores, 0.999).tolist() == list(range(700))


@given(scores=HOLES, p=SHARES)
def test_min_p_keeps_what_is_likely_enough(scores: list[float], p: float) -> None:
    share = probabilities(scores)
    assert keep_min_p(np.array(scores), p).tolist() == np.flatnonzero(share >= p * share.max()).tolist()


@given(scores=HOLES, p=SHARES)
def test_typical_keeps_the_smallest_set_of_typical_tokens(scores: list[float], p: float) -> None:
    share = probabilities(scores)
    kept = keep_typical(np.array(scores), p).tolist()
    assert kept == sorted(kept)
    assert share[kept].min() > 0
    information = -np.log(share[share > 0])
    entropy = (share[share > 0] * information).sum()
    distance = np.full(len(scores), math.inf)
    distance[share > 0] = abs(information - entropy)
    assert share[kept].sum() >= p - 1e-12
    farthest = distance[kept].max()
    assert all(distance[i] > farthest - 1e-9 for i in range(len(scores)) if i not in kept)
    assert share[[i for i in kept if distance[i] < farthest - 1e-9]].sum() < p, "those nearer do not reach it"


def test_typical_drops_the_most_likely_token_if_it_is_too_predictable() -> None:
    share = np.array([0.4, 0.2, 0.2, 0.1, 0.1])  # entropy 1.47, information 0.92, 1.61, 1.61, 2.30, 2.30
    assert keep_typical(np.log(share), 0.3).tolist() == [1, 2]
    assert keep_typical(np.log(share), 0.5).tolist() == [0, 1, 2]
    assert keep_typical(np.zeros(4), 0.3).tolist() == [0, 1, 2, 3], "equally typical ones stay together"


@given(scores=HOLES, p=SHARES, k=st.integers(1, 5))
def test_scores_are_left_as_they_are(scores: list[float], p: float, k: int) -> None:
    for keep, setting in ((keep_top_k, k), (keep_top_p, p), (keep_min_p, p), (keep_typical, p)):
        array = np.array(scores)
        keep(array, setting)
        assert array.tolist() == scores


def test_scores_may_be_large() -> None:
    scores = np.array([800.0, 799.0, 790.0, -np.inf])
    for keep, setting in ((keep_top_p, 0.9), (keep_min_p, 0.2), (keep_typical, 0.9)):
        assert keep(scores, setting).tolist() == keep(scores - 800, setting).tolist() == [0, 1]


def test_min_p_of_one_keeps_the_most_likely_tokens() -> None:
    assert keep_min_p(np.array([1.0, 2.0, 2.0]), 1.0).tolist() == [1, 2]


@pytest.mark.parametrize("n", [1, 2, 10, 499, 998, 1000])
def test_the_largest_of_many(n: int) -> None:
    values = np.random.default_rng(n).normal(size=1000).round(2)
    assert largest(values, n).tolist() == sorted(range(1000), key=lambda i: (-values[i], i))[:n]
