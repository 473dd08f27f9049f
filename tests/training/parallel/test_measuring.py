"""What batches add to measures, put together from several ranks, is what one rank alone measures, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.measures import Accuracy, TopK
from minitrain.measures.base import Mean, as_factory
from minitrain.training.parallel.measuring import can_share, contributions, in_turn, take_in


def size_and_sum(outputs: Any, batch: Any) -> tuple[float, float]:
    return float(outputs.sum()), len(outputs)


FACTORIES = {name: as_factory(one) for name, one in {"mean": size_and_sum, "right": Accuracy, "top": TopK(2)}.items()}


def batches(count: int) -> list[Any]:
    draw = np.random.default_rng(count)
    return [(draw.standard_normal((1 + i % 3, 4)), draw.integers(0, 4, 1 + i % 3)) for i in range(count)]


def batch_of(outputs: Any, targets: Any) -> Any:
    return (outputs, targets)


@given(count=st.integers(0, 9), ranks=st.integers(1, 4))
def test_the_measures_of_one_rank_come_out(count, ranks):
    data = batches(count)
    alone = {name: factory() for name, factory in FACTORIES.items()}
    for outputs, targets in data:
        for measure in alone.values():
            measure.update(outputs, batch_of(outputs, targets))
    # Rank r has batches r, r + ranks, ...
    told = [[contributions(FACTORIES, x, batch_of(x, y)) for x, y in data[rank::ranks]] for rank in range(ranks)]
    together = {name: factory() for name, factory in FACTORIES.items()}
    for added in in_turn(told):
        take_in(together, added)
    for name, measure in together.items():
        assert measure.result() == alone[name].result(), name


class Nothing:
    """A measure that nobody knows how to join."""

    def update(self, outputs: Any, batch: Any) -> None:
        """Nothing."""

    def result(self) -> dict[str, float]:
        return {}


def test_measures_that_are_no_sums_are_not_shared():
    assert can_share({})
    assert can_share({name: factory() for name, factory in FACTORIES.items()})
    assert not can_share({"mean": Mean(size_and_sum), "own": Nothing()})

    class Median(Mean):
        """A measure of one's own may do anything."""

    assert not can_share({"median": Median(size_and_sum)})
    assert contributions({"own": Nothing}, None, None) == []


def test_sums_begin_with_the_first_batch():
    top = FACTORIES["top"]()
    assert top.result() == {}
    take_in({"top": top}, [[1.0, 2.0]])
    take_in({"top": top}, [[0.5, 1.0]])
    np.testing.assert_array_equal(top.sums, [1.5, 3.0])


@given(st.lists(st.lists(st.integers()), max_size=4))
def test_entries_come_in_turn(lists):
    expected = [one[i] for i in range(max(map(len, lists), default=0)) for one in lists if i < len(one)]
    assert list(in_turn(lists)) == expected


def test_every_measure_needs_its_numbers():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        take_in({"a": Mean(size_and_sum)}, [])
