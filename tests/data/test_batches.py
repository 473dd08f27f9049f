"""Batches of any form are cut and read alike; orders of epochs are functions of a key."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data.loading.batches import (
    Batch,
    arrays_in,
    batch_rows,
    checked_batch_size,
    checked_step,
    map_arrays,
    split_batch,
)
from minitrain.data.loading.order import EpochOrder, ShardOrder, across_epochs, shuffled
from minitrain.data.loading.parts import borders, some_micro_batches
from minitrain.errors import ConfigError
from minitrain.random import Key, random_bits

KEY = Key.from_seed(3)


class Fields(NamedTuple):
    """A batch of one's own."""

    x: Any
    more: Any


class NoTuple:
    """Has fields and is no batch."""

    _fields = ("x",)


def every_form(rows: int) -> list[Any]:
    x, y = np.arange(2 * rows).reshape(rows, 2), -np.arange(rows)
    return [
        x,
        (x, y),
        [x, y],
        {"x": x, "y": y},
        Batch(x, y),
        Fields(x, {"y": [y, (x, "text")], "n": 3}),
        [None, {"x": x}],
    ]


def flat(tree: Any) -> list[Any]:
    """The arrays of a tree."""
    if isinstance(tree, np.ndarray):
        return [tree]
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else ()
    return [array for value in values for array in flat(value)]


def shape_of(tree: Any) -> Any:
    """What is left without the arrays."""
    if isinstance(tree, np.ndarray):
        return "array"
    if isinstance(tree, dict):
        return {name: shape_of(value) for name, value in tree.items()}
    return (type(tree), [shape_of(value) for value in tree]) if isinstance(tree, tuple | list) else tree


@given(rows=st.integers(1, 9), data=st.data())
def test_parts_put_together_are_the_batch(rows, data):
    parts = data.draw(st.integers(1, rows))
    for batch in every_form(rows):
        assert batch_rows(batch) == rows
        assert [one is other for one, other in zip(arrays_in(batch), flat(batch), strict=True)]
        found = split_batch(batch, parts)
        sizes = [batch_rows(part) for _, part in found]
        assert [first for first, _ in found] == [sum(sizes[:i]) for i in range(parts)]
        assert max(sizes) - min(sizes) <= 1
        for _, part in found:
            assert shape_of(part) == shape_of(batch)
        for whole, *pieces in zip(flat(batch), *(flat(part) for _, part in found), strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces), whole)
            assert all(np.shares_memory(piece, whole) for piece in pieces)
        wanted = range(data.draw(st.integers(0, parts)), parts)
        assert borders(rows, parts, wanted) == [(found[i][0], sizes[i]) for i in wanted]


def test_what_is_no_array_stays():
    other = NoTuple()
    assert map_arrays({"a": other, "b": [1, None]}, lambda x: None) == {"a": other, "b": [1, None]}
    assert list(arrays_in([other, 1, "text"])) == []


@pytest.mark.parametrize("parts", [-1, 0, 4])
def test_too_many_parts_or_none_are_refused(parts):
    words = rf"batch_size=3 in accumulation_steps={parts} parts: choose 1 to 3"
    with pytest.raises(ConfigError, match=words):
        split_batch(np.zeros(3), parts)
    with pytest.raises(ConfigError, match=words):
        borders(3, parts, range(1))


class All:
    """A loader that reads whole batches."""

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        return [(10 * step + number, number) for number in range(accumulation)]


class Some(All):
    """A loader that reads what is wanted."""

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Any]]:
        return [("asked", (step, accumulation, wanted))]  # type: ignore[list-item]


def test_some_micro_batches_come_from_a_loader_of_either_kind():
    assert some_micro_batches(All(), 2, 5, range(1, 3)) == [(21, 1), (22, 2)]
    assert some_micro_batches(All(), 2, 2, range(1, 3)) == [(21, 1)]  # few samples
    assert some_micro_batches(Some(), 2, 5, range(1, 3)) == [("asked", (2, 5, range(1, 3)))]


def test_numbers_are_checked_and_come_back():
    assert (checked_step(0), checked_step(7), checked_batch_size(1), checked_batch_size(8)) == (0, 7, 1, 8)
    with pytest.raises(ConfigError, match="a step cannot be -1"):
        checked_step(-1)
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        checked_batch_size(0)


@given(count=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_random_order_is_that_of_random_numbers(count, seed):
    key = Key.from_seed(seed)
    numbers = random_bits(key, (1, count))[0].tolist()
    assert shuffled(key, count).tolist() == sorted(range(count), key=lambda i: (numbers[i], i))


@settings(max_examples=40)
@given(per_epoch=st.integers(1, 6), first=st.integers(0, 30), count=st.integers(0, 20))
def test_epochs_follow_each_other(per_epoch, first, count):
    found = across_epochs(lambda epoch: 100 * epoch + np.arange(per_epoch), per_epoch, first, count)
    assert found.tolist() == [100 * (p // per_epoch) + p % per_epoch for p in range(first, first + count)]
    assert found.dtype == np.int64


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), epochs=st.lists(st.integers(0, 3), max_size=6))
def test_an_epoch_has_its_own_order_whatever_was_asked_before(sizes, epochs):
    plain, shards = EpochOrder(sum(sizes), KEY), ShardOrder(np.array(sizes), KEY)
    assert plain.count == shards.count == sum(sizes)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    for epoch in epochs:
        key = KEY.fold(epoch)
        assert plain.of_epoch(epoch).tolist() == shuffled(key, sum(sizes)).tolist()
        expected = []
        for shard in shuffled(key.fold("shards"), len(sizes)).tolist():
            expected += [starts[shard] + i for i in shuffled(key.fold(shard), sizes[shard]).tolist()]
        assert shards.of_epoch(epoch).tolist() == expected
        first = epoch * sum(sizes)
        assert shards.take(first, sum(sizes)).tolist() == expected
        assert plain.take(first + 1, 0).size == 0


def test_an_order_is_made_once():
    order = EpochOrder(5, KEY)
    shards = ShardOrder(np.array([2, 3]), KEY)
    assert order.of_epoch(2) is order.of_epoch(2)
    assert shards.of_epoch(2) is shards.of_epoch(2)
