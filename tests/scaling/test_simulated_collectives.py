"""The simulator, message by message, and the closed forms say the same; nothing beats what ports allow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.distributed import ThreadGroup, run_ranks
from minitrain.errors import ConfigError
from minitrain.scaling import CLUSTERS, Simulator, collectives, simulated
from minitrain.scaling.cluster import ALGORITHMS
from minitrain.scaling.links import LINKS, Link
from minitrain.scaling.simulated import alike, wires_of

sizes = st.floats(1.0, 1e9)
links = st.builds(
    Link, st.just("drawn"), st.floats(1e8, 1e12), st.floats(0.5, 1.0), st.floats(0.0, 1e-4), st.just("a test")
)
powers = st.sampled_from([1, 2, 4, 8, 16])


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15)


@given(nbytes=sizes, ranks=st.integers(1, 12), link=links)
def test_a_ring_takes_what_its_formula_says(nbytes, ranks, link):
    found = simulated.ring(nbytes, ranks, alike(link))
    assert close(found.seconds, collectives.ring(nbytes, ranks, link.latency, link.rate))


@given(nbytes=sizes, ranks=st.integers(1, 12), link=links)
def test_owners_take_what_their_formula_says(nbytes, ranks, link):
    """Once its own messages are through, an owner waits for the latency of the last one, twice."""
    found = simulated.direct(nbytes, ranks, alike(link))
    assert close(found.seconds, collectives.direct(nbytes, ranks, link.latency, link.rate))


@given(nbytes=sizes, ranks=powers, link=links)
def test_halving_and_a_tree_take_what_their_formulas_say(nbytes, ranks, link):
    for name in ("halving", "tree"):
        found = getattr(simulated, name)(nbytes, ranks, alike(link))
        assert close(found.seconds, getattr(collectives, name)(nbytes, ranks, link.latency, link.rate)), name


@given(nbytes=sizes, ranks=st.integers(2, 12), link=links)
def test_a_tree_of_any_number_of_ranks_takes_at_most_that(nbytes, ranks, link):
    found = simulated.tree(nbytes, ranks, alike(link)).seconds
    assert found <= collectives.tree(nbytes, ranks, link.latency, link.rate) * (1 + 1e-9)
    assert found >= 2 * (link.latency + nbytes / link.rate) * (1 - 1e-9)


@given(nbytes=sizes, ranks=powers, link=links, name=st.sampled_from(["ring", "direct", "halving"]))
def test_every_rank_sends_as_little_as_is_possible(nbytes, ranks, link, name):
    """``2 (P-1)/P`` of the buffer; no port is taken for longer than the whole lasts."""
    found = getattr(simulated, name)(nbytes, ranks, alike(link))
    assert len(found.busy) == (2 * ranks if ranks > 1 else 0)
    for busy in found.busy.values():
        assert close(busy, 2 * (ranks - 1) / ranks * nbytes / link.rate)
        assert busy <= found.seconds * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(nbytes=st.floats(1e3, 1e9), machines=st.sampled_from([2, 4]), name=st.sampled_from(sorted(CLUSTERS)))
def test_machines_and_their_networks(nbytes, machines, name):
    """Over two levels, halving agrees with its formula. Those of a ring and of owners are coarser."""
    cluster, ranks = CLUSTERS[name]._replace(gpus=4, ports=4), 4 * machines
    found = simulated.halving(nbytes, ranks, wires_of(cluster)).seconds
    assert close(found, cluster.seconds(nbytes, ranks, "halving"))
    shared = cluster._replace(ports=1)
    found = simulated.halving(nbytes, ranks, wires_of(shared)).seconds
    assert 0.75 <= found / shared.seconds(nbytes, ranks, "halving") <= 1 + 1e-9  # the formula ignores who comes first
    found = simulated.ring(nbytes, ranks, wires_of(shared)).seconds
    assert 0.55 <= found / shared.seconds(nbytes, ranks, "ring") <= 1.6
    found = simulated.direct(nbytes, ranks, wires_of(cluster)).seconds
    assert found >= 2 * (ranks - 4) / ranks * nbytes / cluster.port_rate() * (1 - 1e-9)
    # Messages to a machine queue at its ports, whoever they are for: up to 2.5 times what the formula says.
    assert found <= 2.6 * (cluster.seconds(nbytes, ranks, "direct") + cluster.seconds(nbytes, 4, "direct"))


@given(
    nbytes=st.floats(1.0, 1e10),
    exponent=st.integers(1, 12),
    name=st.sampled_from(sorted(CLUSTERS)),
    algorithm=st.sampled_from(sorted(ALGORITHMS)),
)
def test_more_bytes_and_slower_links_never_help(nbytes, exponent, name, algorithm):
    cluster, ranks = CLUSTERS[name], 1 << exponent
    seconds = cluster.seconds(nbytes, ranks, algorithm)
    assert seconds > 0
    assert cluster.seconds(2 * nbytes, ranks, algorithm) > seconds
    slower = cluster._replace(inside=cluster.inside._replace(bandwidth=cluster.inside.bandwidth / 2))
    slower = slower._replace(between=cluster.between._replace(bandwidth=cluster.between.bandwidth / 2))
    assert slower.seconds(nbytes, ranks, algorithm) > seconds
    assert cluster.seconds(nbytes, 1, algorithm) == 0


@pytest.mark.parametrize("ranks", [2, 8, 16, 32])
def test_the_simulator_sends_what_ranks_send(monkeypatch, ranks):
    """Message by message: owners or halving, as `Group` chooses."""
    count, real, told = 24 * ranks, set[tuple[int, int, int, int]](), set[tuple[int, int, int, int]]()

    class Counting(ThreadGroup):
        rounds = 0

        def exchange(self, outgoing: Any, incoming: Any) -> None:
            real.update((self.rounds, self.rank, other, data.nbytes) for other, data in outgoing.items())
            self.rounds += 1
            super().exchange(outgoing, incoming)

    run_ranks(ranks, lambda group: Counting(group.rank, group.mailboxes).all_reduce(np.ones(count, np.float32)))  # type: ignore[attr-defined]
    send, sent = simulated._send, dict[int, int]()
    each = 1 if ranks >= 16 else ranks - 1  # messages of a rank in a round

    def noted(simulator: Any, wire: Any, one: int, other: int, nbytes: float, after: Any) -> int:
        told.add((sent.get(one, 0) // each, one, other, int(nbytes)))
        sent[one] = sent.get(one, 0) + 1
        return send(simulator, wire, one, other, nbytes, after)

    monkeypatch.setattr(simulated, "_send", noted)
    (simulated.halving if ranks >= 16 else simulated.direct)(4.0 * count, ranks, alike(LINKS["nvlink4"]))
    assert told == real


def test_within_a_machine_the_two_levels_are_one():
    cluster, link = CLUSTERS["H100, InfiniBand"], LINKS["nvlink4"]
    for name in ("ring", "halving"):
        assert close(cluster.seconds(1e6, 8, name), getattr(collectives, name)(1e6, 8, link.latency, link.rate))


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=20))
def test_messages_behind_a_backward(pieces):
    """One processor computes the pieces, one wire sends them."""
    simulator, ready, at, last = Simulator(), [], 0.0, []
    for compute, send in pieces:
        last = [simulator.add(compute, ports=["processor"], after=last)]
        simulator.add(send, ports=["wire"], after=last)
        at += compute
        ready.append(at)
    expected = collectives.pipelined(ready, [send for _, send in pieces])
    assert math.isclose(simulator.run().seconds, expected, rel_tol=1e-9)
    total = (sum(compute for compute, _ in pieces), sum(send for _, send in pieces))
    assert max(total) <= expected * (1 + 1e-9)
    assert expected <= sum(total) * (1 + 1e-9)


@given(st.integers(1, 30), st.floats(0, 5), st.floats(0, 5))
def test_equal_pieces_go_at_the_pace_of_the_slower(count, compute, send):
    ready = [(k + 1) * compute for k in range(count)]
    expected = collectives.pipelined_equal(count, compute, send)
    assert math.isclose(collectives.pipelined(ready, [send] * count), expected, rel_tol=1e-9)


def test_a_port_serves_one_task_at_a_time_in_the_order_of_readiness():
    simulator = Simulator()
    slow = simulator.add(3.0, ports=["a"])
    simulator.add(1.0, ports=["a", "b"], after=[slow], latency=2.0)
    simulator.add(1.0, ports=["b"])
    late = simulator.add(1.0, ports=["b"])
    found = simulator.run()
    assert found.starts == [0.0, 3.0, 0.0, 1.0]
    assert found.ends[late] == 2.0
    assert found.seconds == 6.0
    assert found.busy == {"a": 4.0, "b": 3.0}


def test_a_task_does_not_follow_one_that_is_not_there():
    simulator = Simulator()
    with pytest.raises(ConfigError, match="task 0 follows"):
        simulator.add(1.0, after=[0])
    with pytest.raises(ConfigError, match="negative"):
        simulator.add(-1.0)
