"""16 bits between ranks: rounded to nearest and ties to even, exact on the way, the same for every number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minitrain.backend.precision import half_dtype
from minitrain.distributed import Group, run_ranks
from minitrain.distributed.halves import packed, round_in_place, rounded_add, unpack
from minitrain.distributed.halving import reversed_bits, suits
from minitrain.distributed.tree import tree_sum

FLOATS = arrays(np.uint32, st.integers(0, 40), elements=st.integers(0, 2**32 - 1)).map(
    lambda bits: bits.view(np.float32)
)


@given(FLOATS)
def test_rounding_is_that_of_bfloat16(x):
    """For all bits, NaN and infinity included; the oracle is ml_dtypes."""
    mine = x.copy()
    round_in_place(mine)
    with np.errstate(invalid="ignore"):
        expected = x.astype(half_dtype("bfloat16")).astype(np.float32)
    np.testing.assert_array_equal(mine, expected)
    assert np.signbit(mine[mine == 0]).tolist() == np.signbit(expected[expected == 0]).tolist()


@given(FLOATS)
def test_what_travels_comes_back(x):
    round_in_place(x := x.copy())
    back = np.full_like(x, 7)
    halves = packed(x)
    assert halves.nbytes * 2 == x.nbytes
    unpack(halves, back)
    np.testing.assert_array_equal(back, x)


def test_long_arrays_are_rounded_to_their_end():
    x = np.random.default_rng(0).standard_normal(100_001).astype(np.float32)
    mine = x.copy()
    round_in_place(mine)
    assert (mine.view(np.uint32) & 0xFFFF == 0).all()
    assert np.abs(mine / x - 1).max() <= 2**-8
    out = np.empty_like(x)
    rounded_add(mine, mine, out)
    np.testing.assert_array_equal(out, 2 * mine)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_sums_of_halves_have_the_order_and_the_roundings_of_the_tree(ranks):
    draw = np.random.default_rng(ranks)
    terms = [draw.standard_normal(50).astype(np.float32) for _ in range(ranks)]
    for term in terms:
        round_in_place(term)
    expected = tree_sum([term.copy() for term in terms], rounded_add)

    def work(group: Group) -> bytes:
        mine = terms[group.rank].copy()
        group.all_reduce(mine, half=True)
        return mine.tobytes()

    assert set(run_ranks(ranks, work)) == {expected.tobytes()}
    assert expected.tobytes() != tree_sum([term.copy() for term in terms]).tobytes()


def test_reversed_bits():
    assert [reversed_bits(ranks) for ranks in (1, 2, 4)] == [[0], [0, 1], [0, 2, 1, 3]]
    for ranks in (8, 32):
        assert reversed_bits(ranks) == [int(f"{n:0{ranks.bit_length() - 1}b}"[::-1], 2) for n in range(ranks)]


def test_many_ranks_and_powers_of_two_add_by_pairs():
    assert [ranks for ranks in range(1, 129) if suits(ranks)] == [16, 32, 64, 128]
