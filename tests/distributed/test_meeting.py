"""Ranks that do not find each other all learn why, and nothing stays open."""

from __future__ import annotations

import os
import socket
import sys
import threading

import pytest

from minitrain.distributed import PeerLost
from minitrain.distributed.tcp import TcpGroup
from minitrain.distributed.tcp.group import _line
from minitrain.distributed.tcp.meeting import free_port


def errors_of(*comers: tuple[int, int, float]) -> list[str]:
    """What becomes of processes that come, each with its rank, the size of its group, and the seconds that it waits."""
    root, found = ("127.0.0.1", free_port()), dict[int, str]()

    def come(number: int) -> None:
        rank, size, wait = comers[number]
        try:
            TcpGroup(rank, size, root, token="secret", wait=wait).close()
        except PeerLost as error:
            found[number] = str(error)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(len(comers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == len(comers), found
    return [found[number] for number in range(len(comers))]


def test_a_rank_that_waits_for_less_time_than_rank_0_says_that_others_have_not_come():
    errors = errors_of((0, 3, 2.0), (1, 3, 0.5))
    assert "rank 1: rank 0 ended, or did not say in time where the others are: some may not have come" in errors[1]
    assert "rank 2 did not come in time" in errors[0]


@pytest.mark.parametrize(("rank", "size"), [(1, 3), (3, 4)])
def test_a_number_that_is_taken_or_too_large_is_an_error_at_once(rank, size):
    errors = errors_of((0, 3, 60.0), (1, 3, 5.0), (rank, size, 5.0))  # whoever comes late finds nobody
    assert f"a process came as rank {rank} of 3" in errors[0]
    assert "give each process a MINITRAIN_RANK of its own" in errors[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such memory")
def test_memory_that_was_offered_to_a_rank_that_ended_is_given_back():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    with peer:
        before = len(os.listdir("/proc/self/fd"))
        other.close()
        with pytest.raises(PeerLost):
            _line(peer, 1 << 14, first=True)
        assert len(os.listdir("/proc/self/fd")) == before - 1  # without the other end
