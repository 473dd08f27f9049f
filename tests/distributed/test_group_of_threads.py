"""What every group does with the bytes that an engine carries, watched on threads: who sends what, and when."""

from __future__ import annotations

import threading
import time
from itertools import count as counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.distributed import Alone, Group, PeerLost, ThreadGroup, group, part, run_ranks
from minitrain.distributed.threads import Mailboxes
from minitrain.distributed.tree import tree_sum
from minitrain.errors import ConfigError

RUNS = counter()


class Counting(ThreadGroup):
    """Counts the bytes that leave and arrive."""

    sent = received = 0

    def exchange(self, outgoing: Any, incoming: Any) -> None:
        assert {*outgoing, *incoming} <= set(self.others)
        self.sent += sum(data.nbytes for data in outgoing.values())
        self.received += sum(data.nbytes for data in incoming.values())
        super().exchange(outgoing, incoming)


def on_counting(size: int, work: Any) -> list[Any]:
    """As `run_ranks`, with groups that count."""
    return run_ranks(size, lambda ranks: work(Counting(ranks.rank, ranks.mailboxes)), patience=20)  # type: ignore[attr-defined]


def terms_of(size: int, count: int, dtype: str = "float32") -> list[Any]:
    draw = np.random.default_rng((size, count))
    return [(draw.standard_normal(count) * 10.0 ** draw.integers(-4, 5, count)).astype(dtype) for _ in range(size)]


@settings(max_examples=20, deadline=None)
@given(
    size=st.integers(1, 5),
    count=st.integers(0, 40),
    piece=st.sampled_from([1, 3, 7, 1 << 20]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_sums_have_the_bytes_of_the_tree_in_pieces_of_any_length(size, count, piece, dtype):
    terms = terms_of(size, count, dtype)
    expected = tree_sum([term.copy() for term in terms]) if count else np.zeros(0, dtype)
    whole = expected.nbytes

    def work(ranks: Counting) -> None:
        mine = terms[ranks.rank].copy()
        own = ranks.reduce_scatter(mine)
        assert own == ranks.part(count) == part(count, ranks.rank, size)
        assert mine[own].tobytes() == expected[own].tobytes()
        # A rank sends all but its own part, and gets its own part from all others.
        assert ranks.sent == whole - expected[own].nbytes
        assert ranks.received == (size - 1) * expected[own].nbytes
        ranks.sent = ranks.received = 0
        ranks.all_gather(mine)
        assert mine.tobytes() == expected.tobytes()
        assert ranks.sent == (size - 1) * expected[own].nbytes
        assert ranks.received == whole - expected[own].nbytes
        again = terms[ranks.rank].copy()
        ranks.all_reduce(again)
        assert again.tobytes() == expected.tobytes()

    before = group.PIECE
    group.PIECE = piece
    try:
        on_counting(size, work)
    finally:
        group.PIECE = before


@given(count=st.integers(0, 200), size=st.integers(1, 9))
def test_parts_follow_each_other_and_differ_by_one(count, size):
    parts = [part(count, rank, size) for rank in range(size)]
    assert parts[0].start == 0
    assert parts[-1].stop == count
    assert all(one.stop == other.start for one, other in pairwise(parts))
    lengths = [one.stop - one.start for one in parts]
    assert 0 <= min(lengths) <= max(lengths) <= min(lengths) + 1


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("root", [0, 1, 3])
def test_a_broadcast_replaces_what_the_others_had(size, root):
    if root >= size:
        return

    def work(ranks: Counting) -> None:
        array = np.arange(6.0) * (ranks.rank + 1)
        ranks.broadcast(array, root)
        assert array.tolist() == (np.arange(6.0) * (root + 1)).tolist()
        assert ranks.sent == ((size - 1) * 48 if ranks.rank == root else 0)
        first = np.full(2, ranks.rank)
        ranks.broadcast(first)
        assert first.tolist() == [0, 0]

    on_counting(size, work)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_values_are_gathered_by_rank(size):
    # Others each time: memory that is not written may still hold the values of a run before.
    values = [{"text": "ä" * rank, "n": [0.1 * rank, None, next(RUNS)], "inf": float("inf")} for rank in range(size)]

    def work(ranks: Group) -> Any:
        found = ranks.gather(values[ranks.rank])
        main = ranks.from_main({"rank": ranks.rank})
        nothing = ranks.from_main()
        return found, main, nothing, ranks.is_main, ranks.others

    for rank, result in enumerate(run_ranks(size, work, patience=20)):
        others = [other for other in range(size) if other != rank]
        assert result == (values, {"rank": 0}, None, rank == 0, others)


def test_a_barrier_waits_for_the_last():
    came: list[float] = []
    left: list[float] = []

    def work(ranks: Group) -> None:
        time.sleep(0.05 * ranks.rank)
        came.append(time.monotonic())
        ranks.barrier()
        left.append(time.monotonic())

    run_ranks(3, work, patience=20)
    assert max(came) <= min(left)


@pytest.mark.parametrize(("rank", "size"), [(-1, 2), (2, 2), (5, 3)])
def test_ranks_count_from_zero(rank, size):
    with pytest.raises(ConfigError, match=f"rank {rank} of a group of {size}: ranks count from 0 to {size - 1}"):
        ThreadGroup(rank, Mailboxes(size))


def test_a_group_of_one_is_its_own_main():
    with Alone() as alone:
        assert (alone.rank, alone.size, alone.is_main, alone.others) == (0, 1, True, [])


def test_a_block_closes_its_group():
    mailboxes = Mailboxes(2, 20)
    with ThreadGroup(0, mailboxes):
        pass
    other = ThreadGroup(1, mailboxes)
    for _ in range(2):  # it stays lost
        with pytest.raises(PeerLost, match="rank 1: rank 0 ended"):
            other.exchange({}, {0: memoryview(bytearray(1))})


def test_a_rank_that_says_nothing_is_not_waited_for():
    group_of_two = ThreadGroup(0, Mailboxes(2, 0.05))
    with pytest.raises(PeerLost, match=r"rank 0: nothing came from rank 1 for 0\.05 s"):
        group_of_two.exchange({}, {1: memoryview(bytearray(1))})


def test_only_the_others_hear_that_a_rank_ended():
    mailboxes = Mailboxes(3, 0.05)
    mailboxes.lose(1)
    for rank in (0, 2):
        with pytest.raises(PeerLost, match=f"rank {rank}: rank 1 ended"):
            ThreadGroup(rank, mailboxes).exchange({}, {1: memoryview(bytearray(1))})
    with pytest.raises(PeerLost, match="nothing came from rank 2"):
        ThreadGroup(0, mailboxes).exchange({}, {2: memoryview(bytearray(1))})


def test_the_error_of_the_lowest_rank_that_failed_by_itself_is_told():
    def work(ranks: Group) -> None:
        if ranks.rank in (1, 2):
            raise ValueError(f"rank {ranks.rank} is ill")
        ranks.barrier()

    with pytest.raises(ValueError, match="rank 1 is ill"):
        run_ranks(4, work, patience=20)

    def heard(ranks: Group) -> str:
        if ranks.rank == 1:
            return ""
        with pytest.raises(PeerLost) as caught:
            ranks.barrier()
        return str(caught.value)

    assert run_ranks(2, heard, patience=1)[0] == "rank 0: rank 1 ended"  # it is not waited for

    def all_lost(ranks: Group) -> None:
        raise PeerLost(f"rank {ranks.rank}")

    with pytest.raises(PeerLost, match="rank 0"):
        run_ranks(2, all_lost)
    assert run_ranks(3, lambda ranks: (ranks.rank, ranks.size)) == [(0, 3), (1, 3), (2, 3)]


def test_threads_have_the_names_of_their_ranks():
    assert run_ranks(2, lambda ranks: threading.current_thread().name) == ["rank-0", "rank-1"]
