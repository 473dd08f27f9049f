"""Accuracy, top k, confusion matrices, precision, recall and F1: the definitions, written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError
from minitrain.measures import Accuracy, ConfusionMatrix, MacroF1, TopK, accuracy, class_scores
from minitrain.measures.top_k import rank
from tests.helpers.measuring.measured import classified, value_of

SHAPES = st.sampled_from([(1,), (6,), (3, 4)])


@given(seed=st.integers(0, 10**6), shape=SHAPES, k=st.integers(1, 5))
def test_top_k_by_sorting(seed: int, shape: Any, k: int) -> None:
    logits, targets = classified(seed, *shape)
    order = np.argsort(-logits, axis=-1, kind="stable")  # of equal ones, the lower class leads
    right = (order[..., :k] == targets[..., None]).any(axis=-1) & (targets >= 0)
    rows = TopK(k).rows(logits, (None, targets))
    np.testing.assert_array_equal(rows[:, 0], right.reshape(shape[0], -1).sum(axis=1))
    np.testing.assert_array_equal(rows[:, 1], (targets >= 0).reshape(shape[0], -1).sum(axis=1))
    total, count = accuracy(logits, (None, targets))
    assert value_of(Accuracy(), logits, (None, targets)) == ({"": total / count} if count else {})


def test_a_nan_stands_before_the_target() -> None:
    scores = np.array([[1.0, np.nan, 0.0], [np.nan, 1.0, 1.0]])
    np.testing.assert_array_equal(rank(scores, np.array([0, 2])), [1, 2])
    np.testing.assert_array_equal(rank(scores, np.array([1, 0])), [3, 3])


def test_another_target_may_be_ignored() -> None:
    logits = np.eye(3)
    assert value_of(Accuracy(ignore_index=0), logits, {"inputs": 0, "targets": np.array([0, 1, 0])}) == {"": 1.0}
    assert accuracy(logits, (None, np.array([0, 1, 0]), "lengths"), ignore_index=2) == (2.0, 3.0)
    assert accuracy(logits, (None, np.array([0, 1, 0])), ignore_index=1) == (1.0, 2.0)
    assert (TopK(3).settings(), Accuracy().settings()) == ({"k": 3}, {})
    found = TopK(1, targets=lambda batch: batch.T[0]).rows(logits, np.array([[0], [2], [2]]))
    np.testing.assert_array_equal(found, [[1, 1], [0, 1], [1, 1]])


@given(seed=st.integers(0, 10**6), shape=SHAPES)
def test_confusion_and_scores_by_counting(seed: int, shape: Any) -> None:
    logits, targets = classified(seed, *shape)
    measure = ConfusionMatrix(["a", "b", "c", "d"], per_class=True)
    sums = measure.sums(measure.rows(logits, (None, targets)))
    matrix = measure.matrix(sums)
    pairs = [(t, p) for t, p in zip(targets.flat, logits.argmax(axis=-1).flat, strict=True) if t >= 0]
    for i in range(4):
        for j in range(4):
            assert matrix[i, j] == pairs.count((i, j))
    if not pairs:
        assert measure.value(sums) == MacroF1(4).value(sums) == {}
        return
    found, expected = measure.value(sums), {}
    for i, name in enumerate("abcd"):
        right = pairs.count((i, i))
        support, predicted = sum(t == i for t, _ in pairs), sum(p == i for _, p in pairs)
        precision, recall = right / predicted if predicted else 0.0, right / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        expected[name] = (precision, recall, f1, support, support + predicted)
    for k, score in enumerate(("precision", "recall", "f1")):
        present = [values[k] for values in expected.values() if values[4]]
        assert found[f"{score}_macro"] == pytest.approx(np.mean(present))
        if score == "f1":
            macro = MacroF1(["a", "b", "c", "d"])
            assert macro.value(sums) == {"": found["f1_macro"]}
            assert MacroF1(**macro.settings()).names == list("abcd")
        weighted = sum(values[k] * values[3] for values in expected.values()) / len(pairs)
        assert found[f"{score}_weighted"] == pytest.approx(weighted)
        assert found[f"{score}_micro"] == found["accuracy"] == sum(t == p for t, p in pairs) / len(pairs)
        assert [found[f"{score}_{name}"] for name in "abcd"] == pytest.approx([v[k] for v in expected.values()])
    np.testing.assert_array_equal(class_scores(matrix).support, [values[3] for values in expected.values()])


def test_without_per_class_there_are_ten_numbers() -> None:
    measure = ConfusionMatrix(3)
    found = value_of(measure, np.eye(3), (None, np.arange(3)))
    assert set(found.values()) == {1.0}
    assert len(found) == 10
    assert measure.settings() == {"classes": ["0", "1", "2"], "per_class": False}
    assert ConfusionMatrix(2, per_class=True).settings()["per_class"] is True


def test_a_sample_counts_as_often_as_its_weight_says() -> None:
    measure = ConfusionMatrix(2)
    rows = measure.rows(np.eye(2)[[0, 1, 1]], (None, np.array([0, 0, -100])))
    np.testing.assert_array_equal(rows, [[0, 0], [0, 1], [-1, -1]])
    np.testing.assert_array_equal(measure.sums(rows, np.array([2.0, 3.0, 9.0])), [2, 3, 0, 0])


@pytest.mark.parametrize("target", [3, -1, -2])
@pytest.mark.parametrize("measure", [TopK(1), ConfusionMatrix(3)])
def test_an_unseen_class_is_refused(measure: Any, target: int) -> None:
    with pytest.raises(DataError, match=rf"the target {target} is no class: the model has 3, numbered from 0"):
        measure.rows(np.zeros((3, 3)), (None, np.array([-100, target, 7])))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="k=0 must be at least 1"):
        TopK(0)
    with pytest.raises(ConfigError, match="1 classes; there must be from 2"):
        ConfusionMatrix(1)
    with pytest.raises(ConfigError, match="10001 classes"):
        ConfusionMatrix(10_001)
    ConfusionMatrix(10_000)
    with pytest.raises(ConfigError, match="the outputs have 2 classes, the measure has 3"):
        ConfusionMatrix(3).rows(np.zeros((1, 2)), (None, np.zeros(1, int)))
