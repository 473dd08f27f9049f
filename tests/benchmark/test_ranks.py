"""The benchmark of several ranks: what its tables say of figures, and a link that is slower than it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from benchmarks.ranks.__main__ import WAYS, share, tables
from benchmarks.ranks.program import SlowLink, resident

TURN = {"seconds": 2.0, "cpu": 3.0, "busy": 0.8, "waited": 0.2}


def test_tables_say_what_was_hidden_and_how_two_ranks_compare():
    slower, sharing = TURN | {"seconds": 3.0}, TURN | {"cpu": 2.4}
    result: dict[str, Any] = {
        "steps": {"baby": {"one": [TURN] * 2, "two": [slower] * 2, "sharing": [sharing] * 2}},
        "ways": {"baby": {name: [TURN, TURN, TURN] for name in WAYS}},
        "memory": {"baby": {0: 500.0, 1: 450.0, 2: 430.0}},
        "sums": {"add_seconds": 2.0, "copy_seconds": 1.0, "add_cpu": 1.0, "copy_cpu": 0.9},
    }
    steps, ways, memory, sums = tables(result)
    assert [row[4].split()[0] for row in steps.rows] == ["1.500", "1.000"]
    assert [row[6].split()[0] for row in steps.rows] == ["1.000", "0.800"]
    assert {row[-1] for row in ways.rows} == {"75%"}
    assert [row[2] for row in memory.rows] == ["500", "450", "430"]
    assert [row[-1] for row in sums.rows] == ["50%", "90%"]
    assert share(result["sums"], "cpu") == "90%"


def test_a_slow_link_takes_its_time():
    class Group:
        sent: list[int]

        def exchange(self, outgoing: Any, incoming: Any) -> None:
            self.sent = [message.nbytes for message in outgoing.values()]

    group = Group()
    link = SlowLink(group, 1e6)  # type: ignore[arg-type]
    started = time.perf_counter()
    link({1: memoryview(bytes(50_000))}, {1: memoryview(bytearray(20_000))})
    assert time.perf_counter() - started >= 0.05
    assert group.sent == [50_000]


def test_resident_memory_follows_what_is_written():
    pytest.importorskip("resource")
    before = resident()
    block = bytearray(b"x") * (32 << 20)
    assert resident() - before > 20 << 20
    del block
