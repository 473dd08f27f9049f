"""Every engine keeps the promises of a group: values, and the order of sums, which decides their last bits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.distributed import Alone, Group, PeerLost, ThreadGroup, halving, part, run_ranks
from minitrain.distributed.group import PIECE
from minitrain.distributed.halves import round_in_place
from minitrain.distributed.tcp import TcpGroup, lines
from minitrain.distributed.tcp import group as tcp
from minitrain.distributed.tcp.meeting import free_port
from minitrain.distributed.tree import tree_sum
from minitrain.errors import ConfigError

SIZES = (1, 2, 3, 4)


def over_tcp(size: int, work: Callable[[Group], Any]) -> list[Any]:
    """Threads again, but connected as processes are."""
    root, results, errors = ("127.0.0.1", free_port()), {}, {}

    def run(rank: int) -> None:
        try:
            with TcpGroup(rank, size, root, token="secret", wait=20, patience=20) as group:
                results[rank] = work(group)
        except BaseException as error:
            errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in sorted(errors.values(), key=lambda error: isinstance(error, PeerLost)):
        raise error
    return [results[rank] for rank in range(size)]


ENGINES = {"threads": run_ranks, "tcp": over_tcp}
engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def buffers(size: int, count: int, dtype: str = "float32") -> list[Any]:
    """A buffer of numbers of very different sizes for each rank: their sum depends on the order."""
    draw = np.random.default_rng((size, count))
    return [(draw.standard_normal(count) * 10.0 ** draw.integers(-4, 5, count)).astype(dtype) for _ in range(size)]


def added(terms: list[Any]) -> Any:
    """The tree, written down a second time."""
    if len(terms) == 1:
        return terms[0]
    half = max(2**k for k in range(10) if 2**k < len(terms))
    return added(terms[:half]) + added(terms[half:])


@engines
@settings(max_examples=12, deadline=None)
@given(size=st.sampled_from(SIZES), count=st.integers(0, 70), dtype=st.sampled_from(["float32", "float64"]))
def test_all_reduce_adds_in_the_order_of_the_tree(engine, size, count, dtype):
    terms = buffers(size, count, dtype)

    def work(group: Group) -> bytes:
        mine = terms[group.rank].copy()
        group.all_reduce(mine)
        return mine.tobytes()

    assert set(engine(size, work)) == {added(terms).tobytes()}


@engines
@settings(max_examples=12, deadline=None)
@given(size=st.sampled_from(SIZES), count=st.integers(0, 70))
def test_reduce_scatter_and_all_gather_are_the_halves_of_all_reduce(engine, size, count):
    terms = buffers(size, count)

    def work(group: Group) -> tuple[bytes, bytes]:
        mine = terms[group.rank].copy()
        own = group.reduce_scatter(mine)
        assert own == part(count, group.rank, size)
        share = mine[own].tobytes()
        group.all_gather(mine)
        return share, mine.tobytes()

    results, total = engine(size, work), added(terms)
    for rank, (share, whole) in enumerate(results):
        assert share == total[part(count, rank, size)].tobytes()
        assert whole == total.tobytes()


@engines
@settings(max_examples=12, deadline=None)
@given(size=st.sampled_from([2, 4, 8]), count=st.integers(0, 70), half=st.booleans())
def test_halving_has_the_bytes_of_owners(engine, size, count, half):
    """Of the same ranks, with a buffer that need not have as many elements as there are ranks, in 16 bits too."""
    terms = buffers(size, count)
    for term in terms if half else ():
        round_in_place(term)

    def work(group: Group) -> list[bytes]:
        found = []
        for many in (2, 1 << 20):
            halving.MANY = many
            group.gather(None)
            mine = terms[group.rank].copy()
            share = mine[group.reduce_scatter(mine, half=half)].tobytes()
            group.all_gather(mine, half=half)
            found += [share, mine.tobytes()]
            group.exchange(dict.fromkeys(group.others, memoryview(b"x")), _one_byte_of_each(group))
        return found

    before = halving.MANY
    try:
        results = engine(size, work)
    finally:
        halving.MANY = before
    for by_pairs, whole, by_owners, its_whole in results:
        assert by_pairs == by_owners
        assert whole == its_whole
    assert len({whole for _, whole, _, _ in results}) == 1
    assert half or results[0][1] == added(terms).tobytes()


def _one_byte_of_each(group: Group) -> dict[int, memoryview]:
    return {rank: memoryview(bytearray(1)) for rank in group.others}


@pytest.mark.parametrize(("size", "messages"), [(8, 7), (16, 4), (12, 11), (32, 5)])
def test_many_ranks_send_few_messages_and_no_more_bytes(size, messages):
    sent: list[tuple[int, int]] = []

    class Counting(ThreadGroup):
        def exchange(self, outgoing: Any, incoming: Any) -> None:
            if self.rank == 3:
                sent.append((len(outgoing), sum(data.nbytes for data in outgoing.values())))
            super().exchange(outgoing, incoming)

    terms = buffers(size, 96 * size)

    def work(group: Group) -> bytes:
        mine = terms[group.rank].copy()
        Counting(group.rank, group.mailboxes).all_reduce(mine)  # type: ignore[attr-defined]
        return mine.tobytes()

    assert set(run_ranks(size, work)) == {added(terms).tobytes()}
    assert [sum(one) for one in zip(*sent, strict=True)] == [2 * messages, 2 * (size - 1) * 96 * 4]


@engines
@pytest.mark.parametrize("size", SIZES)
def test_broadcast_gather_and_barrier(engine, size):
    values = [{"rank": rank, "x": 0.1 * rank, "nan": float("inf")} for rank in range(size)]

    def work(group: Group) -> Any:
        array = np.arange(5.0) + group.rank
        group.broadcast(array, root=size - 1)
        group.barrier()
        return array.tolist(), group.gather(values[group.rank]), group.from_main("first" if group.is_main else None)

    expected = ((np.arange(5.0) + size - 1).tolist(), values, "first")
    assert engine(size, work) == [expected] * size


def test_a_part_of_many_pieces_is_added_whole():
    count = 2 * PIECE + 3  # longer than one piece on two ranks

    def work(group: Group) -> bool:
        mine = np.full(count, 1.0 + group.rank, np.float32)
        group.all_reduce(mine)
        return bool((mine == 3).all())

    assert run_ranks(2, work) == [True, True]


@pytest.mark.parametrize("size", [2, 3])
def test_long_messages_go_through_memory_that_ranks_share_or_through_sockets(monkeypatch, size):
    """Of several slots, and not a whole number of them; with the same bytes either way."""
    terms, found, kinds = buffers(size, 2_000_003), list[bytes](), set[type]()

    def work(group: Any) -> bytes:
        kinds.update(type(line) for line in group._lines.values())
        mine = terms[group.rank].copy()
        for _ in range(2):
            group.all_reduce(mine)
            group.gather("short messages in between")
        return mine.tobytes()

    for offered in (lines.offer, lambda size: None):
        monkeypatch.setattr(tcp, "offer", offered)
        found += over_tcp(size, work)
    total = terms[0]
    for _ in range(2):
        total = added([*terms] if total is terms[0] else [total] * size)
    assert set(found) == {total.tobytes()}
    assert kinds == {lines.Shared, lines.Stream}


def test_parts_cover_a_buffer_and_differ_by_one():
    for count in range(20):
        parts = [part(count, rank, 3) for rank in range(3)]
        assert [i for one in parts for i in range(count)[one]] == list(range(count))
        lengths = [one.stop - one.start for one in parts]
        assert max(lengths) - min(lengths) <= 1


def test_minus_zero_is_the_term_that_changes_nothing():
    """A rank without a micro-batch gives this one: 0 would turn the sum of negative zeros into a positive one."""
    values = np.array([-0.0, 0.0, 1.5], np.float32)
    assert tree_sum([values.copy(), np.full(3, -0.0, np.float32)]).tobytes() == values.tobytes()
    assert tree_sum([values.copy(), np.zeros(3, np.float32)]).tobytes() != values.tobytes()


@engines
def test_a_rank_that_raises_ends_the_others(engine):
    """And its own error is what is told."""

    def work(group: Group) -> None:
        if group.rank == 1:
            raise ValueError("rank 1 is ill")
        group.all_reduce(np.zeros(3))

    with pytest.raises(ValueError, match="rank 1 is ill"):
        engine(3, work)


def test_a_rank_that_says_nothing_is_not_waited_for_for_ever():
    def work(group: Group) -> str:
        if group.rank == 1:
            threading.Event().wait(0.5)
            return ""
        with pytest.raises(PeerLost, match="rank 1"):
            group.barrier()
        return "noticed"

    assert run_ranks(2, work, patience=0.1)[0] == "noticed"


def test_a_stranger_is_turned_away():
    """Whoever has another token is no rank; nor is one that talks nonsense."""
    import socket

    root = ("127.0.0.1", free_port())
    found: list[int] = []

    def main() -> None:
        with TcpGroup(0, 2, root, token="right", wait=20) as group:
            group.barrier()
            found.append(group.size)

    thread = threading.Thread(target=main)
    thread.start()
    with pytest.raises(PeerLost):
        TcpGroup(1, 2, root, token="wrong", wait=2)
    for nonsense in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x04\x00\x00\x00null"):
        with socket.create_connection(root) as stranger:
            stranger.sendall(nonsense)
    with TcpGroup(1, 2, root, token="right", wait=20) as group:
        group.barrier()
    thread.join()
    assert found == [2]


def test_missing_ranks_and_used_ports_are_named():
    root = ("127.0.0.1", free_port())
    with pytest.raises(PeerLost, match="rank 1 and 2 did not come in time"):
        TcpGroup(0, 3, root, token="", wait=0.2)
    import socket

    with socket.create_server(root), pytest.raises(PeerLost, match="choose a free port, MINITRAIN_ROOT"):
        TcpGroup(0, 2, root, token="", wait=0.2)
    with pytest.raises(PeerLost, match="no rank of this training listens"):
        TcpGroup(1, 2, root, token="", wait=0.2)


def test_what_listens_but_is_no_rank_is_not_waited_for(monkeypatch):
    """It may say nothing, or something else; a rank that says nothing does not keep rank 0 from the others."""
    import socket

    monkeypatch.setattr("minitrain.distributed.tcp.meeting.GREETING", 0.4)
    for said in (b"", b"SSH-2.0-OpenSSH_9.9\r\n"):
        with socket.create_server(("127.0.0.1", 0)) as other:

            def greet(other: socket.socket = other, said: bytes = said) -> None:
                peer, _ = other.accept()
                peer.sendall(said)
                threading.Event().wait(1)
                peer.close()

            thread = threading.Thread(target=greet)
            thread.start()
            with pytest.raises(PeerLost, match="is no rank of this training: choose a free port"):
                TcpGroup(1, 2, ("127.0.0.1", other.getsockname()[1]), token="", wait=20)
            thread.join()
    root = ("127.0.0.1", free_port())
    main = threading.Thread(target=lambda: TcpGroup(0, 2, root, token="", wait=20).close())
    main.start()
    for _ in range(100):
        try:
            silent = socket.create_connection(root)
            break
        except OSError:
            threading.Event().wait(0.05)
    with silent, TcpGroup(1, 2, root, token="", wait=20):
        main.join()


def test_a_group_of_one_changes_nothing():
    array = np.arange(3.0)
    for group in (Alone(), *run_ranks(1, lambda group: group)):
        group.all_reduce(array)
        group.broadcast(array)
        group.barrier()
        assert group.gather("x") == ["x"]
    assert array.tolist() == [0, 1, 2]


def test_ranks_count_from_zero():
    with pytest.raises(ConfigError, match="ranks count from 0 to 1"):
        TcpGroup(2, 2, ("127.0.0.1", 1), token="")
    assert issubclass(ThreadGroup, Group)
