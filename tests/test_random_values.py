"""Random numbers, number by number: the counters behind them, written down a second time in Python's integers."""

from __future__ import annotations

import hashlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DeviceError
from minitrain.random import (
    WORD,
    Key,
    checked_seed,
    fold,
    normal,
    philox,
    random_bits,
    refuse_in_capture,
    uniform,
    uniform_number,
)

seeds = st.integers(0, 2**64 - 1)
samples = st.one_of(st.integers(0, 5), st.integers(2**32 - 3, 2**32 + 3), st.integers(0, 2**62))


# Random123's published answers for philox4x32-10: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, answer):
    assert philox(counter, *key) == answer


def word(key: Key, sample: int, place: int) -> int:
    """Word ``place`` of a sample: one call of Philox, whose published answers are tested."""
    counter = (place // 4, 0, sample % 2**32, sample // 2**32)
    return int(philox(counter, key.k0, key.k1)[place % 4])


@settings(max_examples=30)
@given(seed=seeds, first=samples, shape=st.lists(st.integers(0, 6), min_size=1, max_size=3))
def test_each_number_has_its_own_counter(seed, first, shape):
    key = Key.from_seed(seed).at_sample(first)
    bits = random_bits(key, tuple(shape))
    assert bits.shape == tuple(shape)
    assert bits.dtype == np.uint32
    rows = bits.reshape(shape[0], math.prod(shape[1:]))
    for row in range(rows.shape[0]):
        assert rows[row].tolist() == [word(key, first + row, place) for place in range(rows.shape[1])]
    np.testing.assert_array_equal(uniform(key, tuple(shape)), bits / 2**32)


def test_any_number_of_numbers_has_the_same_beginning():
    key = Key.from_seed(7)
    words = [word(key, 0, place) for place in range(41)]
    for size in range(41):
        assert random_bits(key, (1, size))[0].tolist() == words[:size]


@settings(max_examples=30)
@given(seed=seeds, first=samples)
def test_one_number_alone_is_the_first(seed, first):
    key = Key.from_seed(seed).at_sample(first)
    assert uniform_number(key) == uniform(key, (1,))[0] == word(key, first, 0) / 2**32


@settings(max_examples=20)
@given(seed=seeds, first=samples, count=st.integers(1, 3), size=st.integers(0, 5))
def test_normal_numbers_are_box_and_mullers(seed, first, count, size):
    key = Key.from_seed(seed).at_sample(first)
    found = normal(key, (count, size))
    assert found.shape == (count, size)
    for row in range(count):
        for place in range(size):
            a, b, c, d = (word(key, first + row, 4 * (place // 2) + i) for i in range(4))
            # 53 bits each: all of one word, and 21 of the next; 0 and 2 are the high words.
            u, v = ((high << 21 | low >> 11) / 2**53 for high, low in ((a, b), (c, d)))
            radius, angle = math.sqrt(-2 * math.log(1 - u)), 2 * math.pi * v
            expected = radius * (math.sin(angle) if place % 2 else math.cos(angle))
            assert found[row, place] == pytest.approx(expected, rel=1e-12, abs=1e-14)


@given(seeds)
def test_a_seed_becomes_two_words(seed):
    key = Key.from_seed(seed)
    assert key == (seed % 2**32, seed // 2**32, 0)
    assert key.at_sample(5) == (seed % 2**32, seed // 2**32, 5)
    assert checked_seed(np.uint64(seed)) == seed


@given(seed=seeds, sample=samples, part=st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=9)))
def test_a_part_of_a_path_is_a_counter(seed, sample, part):
    key = Key.from_seed(seed).at_sample(sample)
    if isinstance(part, str):
        number, kind = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little"), 1
    else:
        number, kind = part % 2**64, 2 if part < 0 else 0
    k0, k1, _, _ = philox((number % 2**32, number // 2**32, kind, WORD), key.k0, key.k1)
    assert key.fold(part) == Key(k0, k1, sample)
    assert key.fold(part, "next") == key.fold(part).fold("next")
    assert key.fold() == key
    assert fold(key, part, 3) == key.fold(part, 3)


def test_no_key_is_an_evaluation_and_stays_one():
    assert fold(None, "a", 1) is None
    with pytest.raises(ConfigError, match=r"key must be a Key or None \(evaluation\), got int"):
        fold(3, "a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seed", "told"),
    [
        (-1, "speed = -1 must be"),
        (2**64, f"speed = {2**64} must be"),
        (-(2**128) + 1, f"speed = {-(2**128) + 1} must be"),
        (2**128, "speed = an integer of 129 bits must be"),
        (-(2**128), "speed = an integer of 129 bits must be"),
        ("7", "got '7' (str)"),
        (True, "got True (bool)"),
        (1.0, "got 1.0 (float)"),
        ("x" * 99, f"got '{'x' * 59} (str)"),
    ],
)
def test_what_is_no_seed_is_told_in_short(seed, told):
    with pytest.raises(ConfigError) as caught:
        checked_seed(seed, "speed")
    assert told in str(caught.value)
    with pytest.raises(ConfigError, match=r"^seed "):
        checked_seed(seed)


def test_the_smallest_and_the_largest_numbers_are_taken():
    assert [checked_seed(one) for one in (0, 2**64 - 1)] == [0, 2**64 - 1]
    root = Key.from_seed(0)
    assert len({root.fold(part) for part in (-(2**63), 2**64 - 1, 0, -1)}) == 4
    for bad in (-(2**63) - 1, 2**64, 1.5, None, True):
        with pytest.raises(ConfigError, match=rf"got {bad}( \(\w+\))?$"):
            root.fold(bad)  # type: ignore[arg-type]


def library(capturing: bool) -> Any:
    """A stand-in for CuPy whose stream is captured, or not."""
    stream = SimpleNamespace(is_capturing=lambda: capturing)
    return SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))


def test_no_random_numbers_come_within_a_captured_step():
    key = Key.from_seed(0)
    refuse_in_capture(np, key)
    refuse_in_capture(library(False), key)
    with pytest.raises(DeviceError, match="would be the same in each launch"):
        refuse_in_capture(library(True), key)
    with pytest.raises(DeviceError):
        random_bits(Key.from_seed(0), (1,), library(True))
