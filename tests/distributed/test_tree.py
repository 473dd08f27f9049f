"""Sums that come one after the other have the order of the tree; which numbers of ranks have branches of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.distributed import share_of, valid_ranks
from minitrain.distributed.micro_batches import check_ranks
from minitrain.distributed.tree import TreeSum, tree_sum
from minitrain.errors import ConfigError


def streamed(terms: list[np.ndarray]) -> np.ndarray:
    """Each term in the same memory."""
    memory = [np.empty_like(terms[0])]
    tree = TreeSum(memory)
    for number, term in enumerate(terms):
        memory[0][...] = term
        tree.add(last=number == len(terms) - 1)
    return memory[0]


def terms_of(count: int) -> list[np.ndarray]:
    draw = np.random.default_rng(count)
    return [(draw.standard_normal(50) * 10.0 ** draw.integers(-4, 5, 50)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("count", range(1, 20))
def test_a_streamed_sum_has_the_bytes_of_the_tree(count):
    terms = terms_of(count)
    total = streamed([term.copy() for term in terms])
    assert total.tobytes() == tree_sum([term.copy() for term in terms]).tobytes()


@settings(max_examples=60, deadline=None)
@given(micro_batches=st.integers(1, 40), missing=st.integers(0, 5))
def test_valid_ranks_have_branches_of_the_tree(micro_batches, missing):
    """Also where the last micro-batches do not exist: a batch may have few samples."""
    there = max(1, micro_batches - missing)
    terms = terms_of(there)
    expected = tree_sum([term.copy() for term in terms]).tobytes()
    for ranks in valid_ranks(micro_batches):
        shares = [[terms[i] for i in share_of(rank, ranks, micro_batches) if i < there] for rank in range(ranks)]
        sums = [streamed(share) if share else np.full(50, -0.0, np.float32) for share in shares]
        assert tree_sum([one.copy() for one in sums]).tobytes() == expected, ranks


@given(st.integers(1, 64))
def test_shares_follow_each_other_and_are_equal(micro_batches):
    for ranks in valid_ranks(micro_batches):
        shares = [share_of(rank, ranks, micro_batches) for rank in range(ranks)]
        assert [number for share in shares for number in share] == list(range(micro_batches))
        assert len(set(map(len, shares))) == 1


def test_other_numbers_of_ranks_add_in_another_order():
    """The refusal is not for show: two ranks with three micro-batches each would get other bytes."""
    terms = terms_of(6)
    halves = [streamed(terms[:3]), streamed(terms[3:])]
    assert tree_sum(halves).tobytes() != tree_sum([term.copy() for term in terms]).tobytes()
    assert valid_ranks(6) == [1, 3, 6]


@pytest.mark.parametrize("count", [1, 2, 7, 16, 31])
def test_few_copies_are_made_and_used_again(count):
    """As many as a path through the tree is long, also over several sums, one of which was given up."""
    memory, copies = [np.zeros(3)], {}
    tree = TreeSum(memory)
    for sum_number in range(4):
        for number in range(count):
            memory[0][...] = 1
            tree.add(last=sum_number != 1 and number == count - 1)
            copies |= {id(kept[0]): kept for _, kept in tree._waiting}  # held here, so that no number comes again
        assert sum_number == 1 or memory[0].tolist() == [count] * 3
        tree.clear()
    assert len(copies) <= count.bit_length()


def test_a_term_that_was_left_over_is_forgotten():
    memory = [np.ones(2)]
    tree = TreeSum(memory)
    tree.add(last=False)
    tree.clear()
    memory[0][...] = 5
    tree.add(last=True)
    assert memory[0].tolist() == [5, 5]


def test_a_number_of_ranks_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match=r"2 ranks cannot share .*=6 .*use 1, 3 or 6 ranks, or make \S+ 2, 4 or 8$"):
        check_ranks(6, 2)
    with pytest.raises(ConfigError, match="use 1 rank, or make"):
        check_ranks(1, 3)
    check_ranks(6, 3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_terms_are_added_as_one_wishes(count):
    """In every step of the tree, whether the terms are there or come one after the other."""
    terms = [np.array([float(2**n)]) for n in range(count)]

    def add(left, right, out):
        np.add(left, right, out=out)
        out += 1000  # counts the additions

    expected = 2**count - 1 + 1000 * (count - 1)
    assert tree_sum([term.copy() for term in terms], add).tolist() == [expected]
    memory = np.empty(1)
    sums = TreeSum([memory], add)
    for number, term in enumerate(terms):
        memory[...] = term
        sums.add(last=number == count - 1)
    assert memory.tolist() == [expected]
