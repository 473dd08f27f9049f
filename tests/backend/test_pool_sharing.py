"""Blocks of the memory pool that serve arrays of another size."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.pool import BufferPool, size_class

MEGABYTE = 1 << 20


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_arrays_that_are_never_there_together_share_a_block():
    pool = BufferPool()
    wide = pool.empty((24 * MEGABYTE,), np.uint8)
    first = address(wide)
    del wide
    narrow = pool.empty((18 * MEGABYTE,), np.uint8)
    assert address(narrow) == first
    assert (pool.in_use, pool.cached, pool.peak) == (24 * MEGABYTE, 0, 24 * MEGABYTE)
    del narrow
    assert address(pool.empty((24 * MEGABYTE,), np.uint8)) == first  # it is as large as ever


def test_a_block_of_the_right_size_comes_before_a_larger_one():
    pool = BufferPool()
    larger, right = pool.empty((5 * MEGABYTE,), np.uint8), pool.empty((4 * MEGABYTE,), np.uint8)
    expected = address(right)
    del right, larger
    assert address(pool.empty((4 * MEGABYTE,), np.uint8)) == expected


def test_a_much_larger_block_waits_for_its_like():
    pool = BufferPool()
    waiting = pool.empty((32 * MEGABYTE,), np.uint8)
    del waiting
    small = pool.empty((16 * MEGABYTE,), np.uint8)
    assert pool.in_use == small.size


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 6 * MEGABYTE), st.booleans()), max_size=30))
def test_no_block_is_smaller_than_asked_for_or_handed_out_twice(requests):
    pool, held = BufferPool(), []
    for size, gives_back in requests:
        held.append(pool.empty((size,), np.uint8))
        spans = sorted((address(x), address(x) + x.size) for x in held)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        asked = sum(size_class(x.size) for x in held if x.size >= 1 << 14)
        assert asked <= pool.in_use <= 1.5 * asked
        if gives_back:
            held.pop(0)
    held.clear()
    assert pool.in_use == 0
