"""The account of the emulated device: work on two streams is refused exactly where it meets in memory unordered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend.cuda.device import use_gpu
from minitrain.testing.cuda.fake import StreamOrderError, emulated_device

SIZE = 24
stretches = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(1, 3)).map(
    lambda one: slice(min(one[:2]), max(one[:2]) + 1, one[2])
)


def reach(part: slice) -> range:
    """The elements between the first and the last one of a slice."""
    every = range(SIZE)[part]
    return range(every[0], every[-1] + 1)


@settings(max_examples=100, deadline=None)
@given(first=stretches, second=stretches, writes=st.tuples(st.booleans(), st.booleans()), ordered=st.booleans())
def test_parts_of_a_block_are_told_apart(first, second, writes, ordered):
    """Two streams may be at two parts of a block; at the same part only to read, or with an event between them."""
    with emulated_device():
        xp = use_gpu("cuda")
        block = xp.zeros(SIZE, np.float32)
        streams = [xp.cuda.Stream(non_blocking=True) for _ in range(2)]
        for stream in streams:
            stream.wait_event(xp.cuda.get_current_stream().record())

        def work(number, part):
            with streams[number]:
                if writes[number]:
                    block[part] += 1.0
                else:
                    block[part] + 1.0

        work(0, first)
        if ordered:
            streams[1].wait_event(streams[0].record())
        meet = set(reach(first)) & set(reach(second)) and any(writes)
        if meet and not ordered:
            with pytest.raises(StreamOrderError, match=r"stream \d+ (reads|writes) memory that stream \d+ may"):
                work(1, second)
        else:
            work(1, second)


def test_a_write_takes_the_place_of_what_it_covers_and_of_nothing_else():
    """The rest of an earlier write is still to be waited for."""
    with emulated_device():
        xp = use_gpu("cuda")
        block = xp.zeros(8, np.float32)
        left, right = (xp.cuda.Stream(non_blocking=True) for _ in range(2))
        start = xp.cuda.get_current_stream().record()
        with left:
            left.wait_event(start)
            block[...] = 1.0
            early = left.record()
        with right:
            right.wait_event(early)
            block[:4] = 2.0
        with left:
            block[4:] = 3.0  # the other stream was not there
            with pytest.raises(StreamOrderError):
                block[3:] = 4.0
        with right:
            block[:4] = 5.0
            with pytest.raises(StreamOrderError):
                block[...] = 6.0


def test_memory_that_is_used_again_keeps_what_happened_in_it():
    """The pool gives a block of a stream to its next array, which waits for whoever was at the old one."""
    with emulated_device():
        xp = use_gpu("cuda")
        left, right = (xp.cuda.Stream(non_blocking=True) for _ in range(2))
        with left:
            array = xp.zeros(8, np.float32)
            made = left.record()
        with right:
            right.wait_event(made)
            array[2:4] + 1.0
        del array
        with left, pytest.raises(StreamOrderError, match="it reads it"):
            xp.zeros(8, np.float32)
