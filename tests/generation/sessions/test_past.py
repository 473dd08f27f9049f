"""Keys and values of earlier positions: the ones that are needed, and none that is not, whatever was done before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ShapeError
from minitrain.nn.attention.past import BLOCK, ROOM, KeyValues, bytes_needed, rows_needed
from tests.helpers.decoding.held_positions import HeldPositions

HEADS, WIDTH = 2, 3
WINDOWS = st.none() | st.integers(1, 200) | st.sampled_from([1, 2, BLOCK, BLOCK + 1, BLOCK + 2])
LONGEST = st.sampled_from([5, 130, 700, 2000])
# The share of the room that is filled; how much is kept; filled up to the end of a block, or of the memory, or so.
STEPS = st.lists(
    st.tuples(st.just("extend"), st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0]))
    | st.tuples(st.just("cut"), st.sampled_from([0.0, 0.2, 0.8, 0.9, 0.99, 1.0]))
    | st.tuples(st.just("block"), st.integers(-1, 1))
    | st.tuples(st.just("memory"), st.integers(-1, 1)),
    min_size=2,
    max_size=15,
)


def run_steps(longest: int, window: int | None, batch: int, steps: list[Any], seed: int) -> None:
    """Extend and cut, and look at what is held."""
    rng = np.random.default_rng(seed)
    past = KeyValues(longest, HEADS, WIDTH, np.empty(0, np.float32), window=window, batch=batch)
    plain = HeldPositions(longest, rows_needed(longest, window), window)
    whole = np.empty((2, batch, 0, HEADS, WIDTH), np.float32)
    for kind, what in [*steps, ("extend", 1.0)]:
        room = past.room()
        assert (past.length, room) == (plain.length, plain.room())
        assert room > 0 or past.length == longest
        if kind == "cut":
            length = int(what * past.length)
            assert past.cut(length) == plain.cut(length)
            whole = whole[:, :, : past.length]
        else:
            T = {
                "extend": min(room, max(1, int(what * room))),
                "block": -past.length % BLOCK + what,
                "memory": plain.rows - (plain.length - plain.first) + what,
            }[kind]
            if not 0 < T <= room:
                continue
            assert past.positions(T).tolist() == list(range(past.length, past.length + T))
            k, v = rng.standard_normal((2, batch, T, HEADS, WIDTH)).astype(np.float32)
            found = past.extend(k, v)
            plain.extend(T)
            whole = np.concatenate([whole, [k, v]], axis=2)
            assert np.array_equal(found, whole[:, :, plain.first :])
        assert past.length == plain.length
        assert np.array_equal(past.all(), whole[:, :, plain.first :])


@pytest.mark.parametrize("window", [None, 1, 66, 129])
def test_one_long_story(window: int | None) -> None:
    """Everything that can happen."""
    steps = [("extend", 0.1), ("block", 1), ("memory", 0), ("extend", 0.01), ("block", 0), ("block", 1), ("memory", 1)]
    steps += [("cut", 0.9), ("extend", 0.3), ("extend", 1.0), ("cut", 0.99), ("extend", 0.01), ("cut", 0.8)]
    run_steps(2000, window, 2, steps, 0)


@given(longest=LONGEST, window=WINDOWS, batch=st.integers(1, 2), steps=STEPS, seed=st.integers(0, 1000))
def test_what_is_held(longest: int, window: int | None, batch: int, steps: list[Any], seed: int) -> None:
    """The keys and values of a range of positions, which ends with the newest one."""
    run_steps(longest, window, batch, steps, seed)


@given(longest=LONGEST, window=WINDOWS, n=st.integers(0, 2000), other=st.integers(0, 2000))
def test_a_copy_goes_on_alone(longest: int, window: int | None, n: int, other: int) -> None:
    """It holds the same, and neither sees what the other gets later."""
    source, copy = (KeyValues(longest, 1, 1, np.empty(0), window=window) for _ in range(2))
    for past, length, sign in ((source, n, 1), (copy, other, -1)):
        while past.length < min(length, longest):
            T = min(past.room(), min(length, longest) - past.length)
            assert T > 0
            numbers = sign * past.positions(T).reshape(1, T, 1, 1) + 0.5
            past.extend(numbers, 2 * numbers)
    copy.copy_from(source)
    held = np.array(source.all())
    assert np.array_equal(copy.all(), held)
    assert (copy.length, copy.room()) == (source.length, source.room())
    if not source.room():
        return
    new = np.full((1, 1, 1, 1), 7.0)
    grown = np.array(copy.extend(new, 2 * new))
    assert np.array_equal(grown, np.concatenate([held, [new, 2 * new]], axis=2)[:, :, -grown.shape[2] :])
    assert np.array_equal(source.all(), held)
    assert copy.cut(max(0, source.length - 1)) == source.cut(max(0, source.length - 1))
    assert np.array_equal(copy.all(), source.all())


@pytest.mark.parametrize(("window", "length"), [(None, 1), (None, 5), (3, 5), (3, 500)])
@pytest.mark.parametrize("chosen", range(3))
def test_sequences_that_differ_in_their_last_position(window: int | None, length: int, chosen: int) -> None:
    """They begin as one, and go on from one of them."""
    one, several = (KeyValues(600, 1, 1, np.empty(0), window=window, batch=batch) for batch in (1, 3))
    for at in range(length):
        one.extend(*np.full((2, 1, 1, 1, 1), at + 0.5))
    several.copy_from(one)
    assert several.length == length
    last = np.array([7.0, 8.0, 9.0]).reshape(3, 1, 1, 1)
    k, v = several.extend(last, -last)
    assert (k[:, -1].ravel().tolist(), v[:, -1].ravel().tolist()) == ([7, 8, 9], [-7, -8, -9])
    several.keep_last(chosen)
    one.extend(last[chosen : chosen + 1], -last[chosen : chosen + 1])
    for mine, others in zip(several.all(), one.all(), strict=True):
        assert np.array_equal(mine, np.repeat(others, 3, axis=0))


def test_what_does_not_fit() -> None:
    """The message says how much would."""
    past = KeyValues(9, 1, 1, np.empty(0))
    past.extend(np.zeros((1, 4, 1, 1)), np.zeros((1, 4, 1, 1)))
    six = np.zeros((1, 6, 1, 1))
    with pytest.raises(ShapeError, match="6 positions do not fit after 4; there is room for 5"):
        past.extend(six, six)
    assert past.length == 4
    past.extend(six[:, :5], six[:, :5])
    assert past.room() == 0


def test_memory() -> None:
    """A window bounds it; the dtype is that of the model."""
    assert rows_needed(5000, None) == 5000
    assert rows_needed(5000, 10) == 10 + 2 * BLOCK + ROOM
    assert rows_needed(70, 10) == 70
    for dtype, window, rows in ((np.float64, None, 3000), (np.float32, 7, rows_needed(3000, 7))):
        past = KeyValues(3000, HEADS, WIDTH, np.empty(0, dtype), window=window)
        assert past._memory.nbytes == bytes_needed(3000, window, HEADS, WIDTH, np.dtype(dtype))
        assert past._memory.shape == (2, 1, rows, HEADS, WIDTH)
        assert past.all()[0].dtype == dtype
    assert KeyValues(3000, 1, 1, np.empty(0), batch=4)._memory.shape == (2, 4, 3000, 1, 1)


@given(
    length=st.integers(0, 5),
    rows=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    window=st.sampled_from([None, 1]),
)
def test_selected_sequences(length: int, rows: list[int], window: int | None) -> None:
    """Each becomes what another was, and goes on from there."""
    k, v = np.random.default_rng(length).standard_normal((2, 4, length + 1, HEADS, WIDTH)).astype(np.float32)
    past = KeyValues(700, HEADS, WIDTH, k, window=window, batch=4)
    past.extend(np.repeat(k[:, :1], 300, axis=1), np.repeat(v[:, :1], 300, axis=1))
    dropped = past.length - past.all()[0].shape[1]
    past.extend(k[:, :length], v[:, :length])
    before = [one.copy() for one in past.all()]
    past.select(np.array(rows))
    assert past.length == 300 + length
    assert np.array_equal(past.all(), [one[rows] for one in before])
    found = past.extend(k[:, length:], v[:, length:])
    assert np.array_equal(found[0], np.concatenate([before[0][rows], k[:, length:]], axis=1))
    assert np.array_equal(found[1], np.concatenate([before[1][rows], v[:, length:]], axis=1))
    assert dropped == 0 or window is not None
