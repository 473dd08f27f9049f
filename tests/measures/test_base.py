"""What a measure is: means of functions, factories, names of results, and that batches make no difference."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import DataError
from minitrain.measures import (
    Accuracy,
    Alignment,
    BitsPerByte,
    CalibrationError,
    ConfusionMatrix,
    ErrorRate,
    ExactMatch,
    Mean,
    Perplexity,
    Retrieval,
    RunningSum,
    SampleMeasure,
    TopK,
    ZeroShot,
    accuracy,
    measure,
)
from minitrain.measures.base import as_factory, new_measure, ratio, results
from tests.helpers.measuring.measured import classified, cuts, measured

N = 7
RNG = np.random.default_rng(0)
LOGITS = classified(1, N, 3)
ONE_EACH = classified(2, N)
PAIRS = ((RNG.standard_normal((N, 3)), RNG.standard_normal((N, 3))), {"group": np.array([0, 1, 2, 2, 3, 4, 4])})
WORDS = (["a b", "", "c", "a a a", "b", "c c", "a"], {"references": ["a", ["b", "a b"], "c", "a", "a c", "c", ["a"]]})
MEASURES: dict[str, tuple[Any, Any]] = {
    "a function": (accuracy, (LOGITS[0], LOGITS)),
    "accuracy": (Accuracy, (LOGITS[0], LOGITS)),
    "top 2": (TopK(2), (LOGITS[0], LOGITS)),
    "confusion": (ConfusionMatrix(4, per_class=True), (ONE_EACH[0], ONE_EACH)),
    "calibration": (CalibrationError(4), (LOGITS[0], LOGITS)),
    "perplexity": (Perplexity, (LOGITS[0], LOGITS)),
    "bits per byte": (BitsPerByte([1, 2, 3, 1]), (LOGITS[0], LOGITS)),
    "error rate": (ErrorRate(), WORDS),
    "exact": (ExactMatch(), WORDS),
    "retrieval": (partial(Retrieval, (1, 3)), PAIRS),
    "groups": (partial(Retrieval, (1, 3), groups=lambda batch: batch["group"]), PAIRS),
    "alignment": (Alignment, PAIRS),
    "zero shot": (ZeroShot(np.eye(4)[:, :3] + 0.1, 2), (PAIRS[0], ONE_EACH)),
}


@pytest.mark.parametrize("name", MEASURES)
@settings(max_examples=25)
@given(data=st.data())
def test_any_split_into_batches_gives_the_same_values(name: str, data: Any) -> None:
    metric, (outputs, batch) = MEASURES[name]
    whole, parts = measured(metric, outputs, batch), measured(metric, outputs, batch, data.draw(cuts(N)))
    assert whole
    assert parts == pytest.approx(whole, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_rows_of_samples_give_the_value(name: str) -> None:
    metric, (outputs, batch) = MEASURES[name]
    one = metric() if isinstance(metric, type) else metric
    if not isinstance(one, SampleMeasure):
        return
    rows = one.rows(outputs, batch)
    assert rows.dtype == np.float64
    found = {"_".join(filter(None, ("m", key))): value for key, value in one.value(one.sums(rows)).items()}
    assert measured(metric, outputs, batch) == pytest.approx(found, rel=1e-15)
    twice = one.sums(np.concatenate([rows, rows[:2]]))
    weights = np.where(np.arange(len(rows)) < 2, 2.0, 1.0)
    np.testing.assert_allclose(one.sums(rows, weights), twice, rtol=1e-14)
    again = SampleMeasure.kinds[one.kind](**one.settings())
    assert again.value(twice) == one.value(twice)


def test_a_mean_divides_the_sums() -> None:
    mean = Mean(lambda outputs, batch: (outputs, batch))
    assert mean.result() == {}
    mean.update(1.0, 2.0)
    mean.update(2.0, 4.0)
    assert mean.result() == {"": 0.5}
    mean.update(3.0, -6.0)
    assert mean.result() == {}, "nothing counts"


def test_a_sum_of_nothing_has_no_value() -> None:
    running = Accuracy()()
    assert isinstance(running, RunningSum)
    assert running.sums is None
    assert running.result() == {}
    running.update(np.zeros((2, 3)), (None, np.array([-100, -100])))
    assert running.result() == {}
    running.update(np.eye(3), (None, np.array([0, 1, 1])))
    np.testing.assert_array_equal(running.sums, [2, 3])
    assert running.result() == {"": 2 / 3}


def test_a_function_or_what_makes_a_measure() -> None:
    assert isinstance(new_measure(as_factory(accuracy)), Mean)
    assert isinstance(new_measure(as_factory(partial(accuracy, ignore_index=3))), Mean)
    assert isinstance(new_measure(as_factory(Retrieval)), Retrieval)
    three, again = TopK(3), as_factory(TopK)
    assert as_factory(three) is three
    assert isinstance(again, TopK)
    assert new_measure(three).measure is three  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="a metric is a function of outputs and a batch, or makes a measure; this is 3"):
        as_factory(3)
    with pytest.raises(DataError, match=r"makes a measure with update\(outputs, batch\).* makes a dict"):
        new_measure(as_factory(lambda: {}))

    class NoResult:
        def update(self, outputs: Any, batch: Any) -> None: ...

    class NoUpdate:
        def result(self) -> dict[str, float]:
            return {}

    for kind in (NoResult, NoUpdate):
        with pytest.raises(DataError, match=f"makes a {kind.__name__}"):
            new_measure(as_factory(kind))


def test_results_have_the_names_of_measure_and_value() -> None:
    class Two:
        def update(self, outputs: Any, batch: Any) -> None: ...

        def result(self) -> dict[str, float]:
            return {"": 1.0, "x": 2.0}

    assert results({"a": Two(), "b": Two(), "": Two()}) == {"a": 1, "a_x": 2, "b": 1, "b_x": 2, "": 1, "x": 2}


def test_measure_goes_over_pairs() -> None:
    pairs = [(["a b x"], ["a b"]), (["c", "d"], ["c", "e"])]
    assert measure(pairs, {"exact": ExactMatch(), "errors": ErrorRate}) == {"exact": 1 / 3, "errors": 2 / 4}


def test_a_measure_of_your_own_is_found_by_its_kind() -> None:
    class Own(TopK):
        kind = "test: own"

    class Same(Own):
        pass

    assert SampleMeasure.kinds.pop("test: own") is Own
    assert Same not in SampleMeasure.kinds.values()


def test_a_ratio_of_nothing_is_left_out() -> None:
    assert ratio(3, 4) == {"": 0.75}
    assert ratio(3, 4, "x") == {"x": 0.75}
    assert ratio(0, 0, "x") == {}
