"""Retrieval, alignment and zero-shot classification: all pairs written out."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError
from minitrain.measures import (
    Alignment,
    Retrieval,
    ZeroShot,
    class_embeddings,
    pair_measures,
    prompts_of,
    ranks,
    retrieval,
)
from minitrain.measures.embeddings import directions
from tests.helpers.measuring.measured import measured, value_of


def sides(seed: int, count: int, width: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(-2, 3, (2, count, width)).astype(np.float64))  # with ties, and zero vectors


@given(seed=st.integers(0, 10**6), count=st.integers(1, 9), grouped=st.booleans(), at_once=st.integers(1, 30))
def test_ranks_by_going_over_all_pairs(seed: int, count: int, grouped: bool, at_once: int) -> None:
    left, right = sides(seed, count)
    groups = np.random.default_rng(seed).integers(0, 3, count) if grouped else np.arange(count)
    cosines = directions(left) @ directions(right).T
    expected = []
    for i in range(count):
        best = max(cosines[i, j] for j in range(count) if groups[i] == groups[j])
        expected.append(sum(groups[i] != groups[j] and cosines[i, j] > best - 1e-12 for j in range(count)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "AT_ONCE", at_once)
        found = ranks(left, right, groups if grouped else None)
    assert found.tolist() == expected


def test_ties_count_against_the_model() -> None:
    same = np.tile(np.random.default_rng(0).standard_normal(64).astype(np.float32), (33, 1))
    assert ranks(same, same).tolist() == [32] * 33
    assert ranks(np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [1, 1e-13]])).tolist() == [1, 1]
    assert ranks(np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [0.99, 0.1]])).tolist() == [0, 0]


def test_nan_is_never_near() -> None:
    left, right = np.eye(3), np.eye(3)
    left[0, 0] = np.nan
    assert ranks(left, right).tolist() == [2, 0, 0]
    assert ranks(right, left).tolist() == [2, 0, 0]


def test_recalls_ranks_and_medians() -> None:
    # The cosines: each left side has its own line, and the right sides are columns.
    left = np.eye(4)
    right = np.array([[0.9, 0, 0, 0.1], [0.8, 0.7, 0.1, 0], [0.5, 0.8, 0.3, 0], [0, 0, 0, 1]])
    cosines = directions(right).T
    forward = [sum(cosines[i] >= cosines[i, i]) - 1 for i in range(4)]
    backward = [sum(cosines[:, i] >= cosines[i, i]) - 1 for i in range(4)]
    assert (forward, backward) == ([0, 1, 0, 0], [0, 1, 2, 0])
    found = measured(partial(Retrieval, (1, 2)), (left, right), nothing(4), [1])
    assert found == pytest.approx(
        {
            "m_top1": 3 / 4,
            "m_top2": 1,
            "m_mrr": 3.5 / 4,
            "m_median_rank": 1,
            "m_reverse_top1": 2 / 4,
            "m_reverse_top2": 3 / 4,
            "m_reverse_mrr": (1 + 1 / 2 + 1 / 3 + 1) / 4,
            "m_reverse_median_rank": 1.5,
        }
    )
    made = Retrieval((1,))
    made.update((left, right), None)
    rows = [[1, 1, 1, 1, 1], [0, 1 / 2, 0, 1 / 2, 1], [1, 1, 0, 1 / 3, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_allclose(made.rows(), rows)
    groups = partial(Retrieval, (1,), groups=lambda batch: batch["group"])
    same = measured(groups, (left, right), {"group": np.array([0, 1, 1, 2])}, [2])
    assert same["m_top1"] == 1
    assert same["m_reverse_top1"] == 3 / 4


def test_nothing_is_found_among_the_first() -> None:
    found = measured(partial(Retrieval, (1,)), (np.eye(2), np.eye(2)[::-1]), nothing(2))
    assert found["m_top1"] == found["m_reverse_top1"] == 0
    assert ranks(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0,)
    empty = Retrieval()
    assert [len(one) for one in empty.ranks()] == [0, 0]
    empty.update((np.zeros((0, 2)), np.zeros((0, 2))), None)
    assert empty.result() == {}


def test_similarities_of_few_queries_are_held_at_once() -> None:
    assert retrieval.queries_at_once(0) == retrieval.AT_ONCE
    assert retrieval.queries_at_once(1) == retrieval.AT_ONCE // 2
    assert retrieval.queries_at_once(retrieval.AT_ONCE) == 1


def nothing(count: int) -> list[None]:
    return [None] * count


def test_rows_of_a_retrieval_are_samples() -> None:
    made = Retrieval((1, 3))
    assert made.result() == {}
    assert made.samples.value(np.zeros(7)) == {}
    made.update(sides(1, 6), None)
    rows = made.rows()
    assert rows.shape == (6, 7)
    assert made.result().items() >= made.samples.value(made.samples.sums(rows)).items()
    assert made.samples.settings() == {"ks": [1, 3]}


@pytest.mark.parametrize("ks", [(), (0, 1)])
def test_recall_needs_places(ks: Any) -> None:
    with pytest.raises(ConfigError, match="must be numbers from 1 on"):
        Retrieval(ks)


@pytest.mark.parametrize(
    "outputs", [np.eye(2), (np.eye(2),), (np.eye(2), np.eye(3)), (np.ones(2), np.ones(2)), [np.eye(2), np.eye(2)]]
)
def test_other_outputs_are_refused(outputs: Any) -> None:
    for made in (Retrieval(), Alignment()):
        with pytest.raises(DataError, match=r"two arrays \(B, C\) of one shape"):
            made.update(outputs, None)


def test_features_may_be_elsewhere() -> None:
    for kind in (Retrieval, Alignment):
        made, plain = kind(features=lambda outputs, batch: (outputs, batch)), kind()
        made.update(*sides(3, 5))
        plain.update(sides(3, 5), None)
        assert made.result() == plain.result()


@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_alignment_of_all_pairs(seed: int, count: int) -> None:
    left, right = sides(seed, count)
    cosines = directions(left) @ directions(right).T
    own, mean = cosines.trace() / count, cosines.mean()
    found = measured(Alignment, (left, right), nothing(count), range(2, count, 2))
    assert found["m_diag_mean"] == pytest.approx(own, abs=1e-12)
    assert found["m_sim_mean"] == pytest.approx(mean, abs=1e-12)
    assert found["m_gap"] == pytest.approx(own - mean, abs=1e-12)
    if cosines.std() > 1e-6:
        assert found["m_snr"] == pytest.approx((own - mean) / cosines.std(), rel=1e-9, abs=1e-9)


def test_a_model_that_gives_everything_one_vector_has_no_gap() -> None:
    one = np.tile([3.0, 4.0], (5, 1))
    found = measured(Alignment, (one, one), nothing(5), [2])
    assert found["m_diag_mean"] == pytest.approx(1)
    assert found["m_gap"] == pytest.approx(0, abs=1e-15)
    assert abs(found["m_snr"]) < 1e-3
    assert Alignment().result() == {}
    left = np.tile([-0.8019314252534474, -1.324358995628145], (2, 1))  # all cosines are 0, and rounding gives -2e-17
    crossed = np.stack([left[0, ::-1] * [1, -1], left[0, ::-1] * [-1, 1]])
    assert abs(measured(Alignment, (left, crossed), nothing(2))["m_gap"]) < 1e-15
    made = Alignment()
    made.update((np.zeros((0, 2)), np.zeros((0, 2))), None)
    assert made.result() == {}
    made.update((one, one), None)
    made.update((np.zeros((0, 2)), np.zeros((0, 2))), None)
    assert made.samples == 5


def test_the_measures_of_pairs_have_the_names_of_records() -> None:
    """Equal texts are one, if the groups say so."""
    pairs, groups = sides(3, 6), np.array([0, 0, 1, 2, 3, 3])
    asked = pair_measures(lambda batch: batch)
    assert list(asked) == ["recall", "alignment"]
    found = measured(asked["recall"], pairs, groups)
    assert found == measured(partial(Retrieval, (1, 5), groups=lambda batch: batch), pairs, groups)
    assert asked["alignment"] is Alignment
    alone = measured(pair_measures()["recall"], pairs, groups)
    assert alone == measured(partial(Retrieval, (1, 5)), pairs, groups) != found


def test_classes_are_means_of_directions() -> None:
    prompts = [np.array([[2.0, 0.0], [0.0, 9.0]]), np.array([[-5.0, 0.0]])]
    np.testing.assert_allclose(class_embeddings(prompts), [[0.5**0.5, 0.5**0.5], [-1, 0]])
    with pytest.raises(ConfigError, match="class 1 has no prompt"):
        class_embeddings([np.ones((1, 2)), np.ones((0, 2))])


def test_zero_shot_takes_the_nearest_class() -> None:
    classes = class_embeddings([np.array([[1.0, 0]]), np.array([[0, 1.0]]), np.array([[-1.0, 0]])])
    images, targets = np.array([[3.0, 1], [1, 3], [-1, 0.5]], np.float32), np.array([0, 0, 2])
    measure = ZeroShot(classes)
    np.testing.assert_allclose(measure.scores(images)[0], np.array([3, 1, -3]) / 10**0.5, rtol=1e-6)
    assert value_of(measure, (images, "texts"), (None, targets)) == {"": 2 / 3}
    np.testing.assert_array_equal(measure.rows(images, (None, targets)), [[1, 1], [0, 1], [1, 1]])
    assert value_of(ZeroShot(classes, 2), images, (None, targets)) == {"": 1.0}
    assert value_of(ZeroShot(classes, images=lambda found: found["i"]), {"i": images}, (None, targets)) == {"": 2 / 3}
    assert value_of(ZeroShot(classes, ignore_index=2), images, (None, targets)) == {"": 0.5}
    named = ZeroShot(classes, targets=lambda batch: batch["class"])
    assert value_of(named, images, {"class": targets}) == {"": 2 / 3}
    with pytest.raises(DataError, match="the target 3 is no class"):
        measure.rows(images, (None, np.array([0, 3, 1])))
    assert measure.settings() == {"classes": [], "k": 1}


def test_prompts_are_names_in_templates() -> None:
    assert prompts_of(["cat", "dog"], ["a {}", "{} {}"]) == [["a cat", "cat cat"], ["a dog", "dog dog"]]
    assert prompts_of(["cat"]) == [["cat"]]
    with pytest.raises(ConfigError, match="the template 'a cat' has no "):
        prompts_of(["x"], ["{}", "a cat", "a dog"])
    with pytest.raises(ConfigError, match="there is no template"):
        prompts_of(["x"], [])


def test_a_zero_vector_has_no_direction() -> None:
    np.testing.assert_array_equal(directions(np.array([[0.0, 0.0], [3.0, 4.0]])), [[0, 0], [0.6, 0.8]])
    assert directions(np.ones((2, 3), np.float32)).dtype == np.float64
