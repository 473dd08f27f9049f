"""Collective calls and training steps as tasks of the simulator, message by message.

The closed forms of `minitrain.scaling.collectives` and `minitrain.scaling.step` are compared with these. What the
simulator assumes is listed in `minitrain.scaling.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .cluster import Cluster
from .events import Simulator, Timeline
from .links import Link

Wire = Callable[[int, int], tuple[Link, list[tuple[str, int]]]]
"""The link from one rank to another, and the ports that a message between them takes."""


def alike(link: Link) -> Wire:
    """Ranks that are all connected alike, each with one port in and one out."""
    return lambda one, other: (link, [("out", one), ("in", other)])


def wires_of(cluster: Cluster) -> Wire:
    """The links of a cluster: a GPU has ports of its own within its machine, and shares those of the network."""

    def wire(one: int, other: int) -> tuple[Link, list[tuple[str, int]]]:
        if one // cluster.gpus == other // cluster.gpus:
            return cluster.inside, [("out", one), ("in", other)]

        def port(rank: int) -> int:
            machine, place = divmod(rank, cluster.gpus)
            return machine * cluster.ports + place * cluster.ports // cluster.gpus

        return cluster.between, [("network out", port(one)), ("network in", port(other))]

    return wire


def ring(nbytes: float, ranks: int, wire: Wire) -> Timeline:
    """An all-reduce along the ring 0, 1, …: every step waits for what the step before brought."""
    simulator, got = Simulator(), [[] for _ in range(ranks)]  # type: ignore[var-annotated]
    for _ in range(2 * (ranks - 1)):
        sent = [_send(simulator, wire, rank, (rank + 1) % ranks, nbytes / ranks, got[rank]) for rank in range(ranks)]
        got = [[sent[rank - 1]] for rank in range(ranks)]
    return simulator.run()


def direct(nbytes: float, ranks: int, wire: Wire) -> Timeline:
    """An all-reduce by owners: all send to all, beginning with their neighbour, and then the owners send to all."""
    simulator = Simulator()
    arrived: list[list[int]] = [[] for _ in range(ranks)]
    for _ in range(2):
        after, arrived = arrived, [[] for _ in range(ranks)]
        for distance in range(1, ranks):
            for rank in range(ranks):
                to = (rank + distance) % ranks
                arrived[to].append(_send(simulator, wire, rank, to, nbytes / ranks, after[rank]))
    return simulator.run()


def halving(nbytes: float, ranks: int, wire: Wire) -> Timeline:
    """An all-reduce by pairs: halves with the neighbour, quarters with the next but one, …, and all of it backwards."""
    simulator = Simulator()
    last: list[list[int]] = [[] for _ in range(ranks)]
    distances = [1 << k for k in range((ranks - 1).bit_length())]
    for distance in [*distances, *reversed(distances)]:
        part = nbytes / (2 * distance)
        sent = [_send(simulator, wire, rank, rank ^ distance, part, last[rank]) for rank in range(ranks)]
        # A rank goes on when it has sent its part and has got the other's.
        last = [[sent[rank], sent[rank ^ distance]] for rank in range(ranks)]
    return simulator.run()


def tree(nbytes: float, ranks: int, wire: Wire) -> Timeline:
    """An all-reduce along a binomial tree to rank 0, and back."""
    simulator = Simulator()
    last: list[list[int]] = [[] for _ in range(ranks)]
    distances = [1 << k for k in range((ranks - 1).bit_length())]
    for distance in distances:
        for rank in range(distance, ranks, 2 * distance):
            last[rank - distance].append(_send(simulator, wire, rank, rank - distance, nbytes, last[rank]))
    for distance in reversed(distances):
        for rank in range(distance, ranks, 2 * distance):
            last[rank] = [_send(simulator, wire, rank - distance, rank, nbytes, last[rank - distance])]
    return simulator.run()


def training(
    compute: Sequence[float],
    sums: Sequence[float],
    ranks: int,
    *,
    steps: int = 1,
    variation: float = 0.0,
    seed: int = 0,
) -> Timeline:
    """Training steps: a forward, then pieces of the backward, each followed by its sum over all ranks.

    Args:
        compute: seconds of the forward, and of each piece of the backward.
        sums: seconds of each piece's all-reduce, which takes the one network of all.
        ranks: how many.
        steps: how many.
        variation: standard deviation of a rank's time in a step, as a share; normal and independent.
        seed: of these.
    """
    simulator = Simulator()
    factors = 1.0 + variation * np.random.default_rng(seed).standard_normal((steps, ranks))
    before: list[int] = []
    for step in range(steps):
        last = [before] * ranks
        arrived: list[int] = []
        for place, seconds in enumerate(compute):
            done = [
                simulator.add(seconds * max(0.0, float(factors[step, rank])), ports=[("gpu", rank)], after=last[rank])
                for rank in range(ranks)
            ]
            last = [[one] for one in done]
            if place:
                arrived.append(simulator.add(sums[place - 1], ports=["network"], after=done))
        before = arrived
    return simulator.run()


def _send(simulator: Simulator, wire: Wire, one: int, other: int, nbytes: float, after: Sequence[int]) -> int:
    link, ports = wire(one, other)
    return simulator.add(nbytes / link.rate, ports=ports, after=after, latency=link.latency)
