"""Machines with several GPUs each: fast links within a machine, a network between machines.

All-reduces over both levels, as closed forms. ``n`` GPUs share a machine, there are ``m`` machines, ``P = m n``.

- ``ring``: one ring through all GPUs, ``2 (P-1)`` hops, of which ``2 (m-1)`` cross the network. Channels leave by
  all ports of a machine, so the ring runs at the slower of a GPU's link and all ports of a machine together.
- ``trees``: a chain within each machine and two complementary trees between them, pipelined: ``2 (n-1)`` hops and
  ``2 log2(m)`` over the network, at 0.9 of the ring's rate. So NCCL's tuner reckons (``ncclTopoTuneModel``).
- ``direct``: every rank sends to every owner, as `minitrain.distributed.Group` does now. A GPU then sends nearly the
  whole buffer through its share of the network ports, where the others send an ``n``-th of it.
- ``halving``: neighbours exchange halves, then quarters: within the machine first. Its sums have the order of
  `minitrain.distributed.tree`. P is a power of two, so are n and m.

The first two are NCCL's and promise no order that is the same for every number of ranks; the last two keep the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..profiling.gpu import CARDS, Card
from . import collectives
from .links import LINKS, Link

MEMORY = {"A100": 80e9, "H100": 80e9, "H200": 141e9, "B200": 180e9}
"""Bytes of a card, by the datasheets of `minitrain.profiling.gpu.cards`."""


class Cluster(NamedTuple):
    """See the module.

    Attributes:
        card: of `minitrain.profiling.gpu.CARDS`.
        inside: the link between GPUs of a machine.
        between: a port of the network.
        gpus: in a machine.
        ports: to the network, of a machine.
        memory: bytes of a card.
    """

    card: Card
    inside: Link
    between: Link
    gpus: int = 8
    ports: int = 8
    memory: float = 80e9

    def machines(self, ranks: int) -> int:
        """How many machines so many ranks need."""
        return -(-ranks // self.gpus)

    def local(self, ranks: int) -> int:
        """How many ranks share a machine."""
        return min(ranks, self.gpus)

    def rate(self, ranks: int) -> float:
        """Bytes per second of a ring through so many ranks."""
        return self.inside.rate if ranks <= self.gpus else min(self.inside.rate, self.ports * self.between.rate)

    def port_rate(self) -> float:
        """Bytes per second of the network for each GPU, if all send."""
        return self.between.rate * self.ports / self.gpus

    def seconds(self, nbytes: float, ranks: int, algorithm: str) -> float:
        """Seconds of an all-reduce of ``nbytes`` over ``ranks``.

        Args:
            nbytes: of the buffer.
            ranks: P.
            algorithm: a name of `ALGORITHMS`; ``"nccl"`` is the faster of ring and trees, ``"same bytes"`` that of
                direct and halving.
        """
        if ranks == 1:
            return 0.0
        if algorithm in CHOICES:
            return min(self.seconds(nbytes, ranks, one) for one in CHOICES[algorithm])
        return ALGORITHMS[algorithm](self, nbytes, ranks)


def _ring(cluster: Cluster, nbytes: float, ranks: int) -> float:
    across = 2 * (cluster.machines(ranks) - 1)
    hops = (2 * (ranks - 1) - across) * cluster.inside.latency + across * cluster.between.latency
    return hops + 2 * (ranks - 1) / ranks * nbytes / cluster.rate(ranks)


def _trees(cluster: Cluster, nbytes: float, ranks: int) -> float:
    across = collectives.rounds(cluster.machines(ranks))
    hops = 2 * ((cluster.local(ranks) - 1) * cluster.inside.latency + across * cluster.between.latency)
    return hops + 2 * nbytes / (0.9 * cluster.rate(ranks))


def _direct(cluster: Cluster, nbytes: float, ranks: int) -> float:
    local, part = cluster.local(ranks), nbytes / ranks
    inside = cluster.inside.latency + (local - 1) * part / cluster.inside.rate
    if ranks == local:
        return 2 * inside
    # Each message costs its latency here: thousands of them are not in flight at once.
    return 2 * max(inside, (ranks - local) * (cluster.between.latency + part / cluster.port_rate()))


def _halving(cluster: Cluster, nbytes: float, ranks: int) -> float:
    local, machines = cluster.local(ranks), cluster.machines(ranks)
    inside = collectives.halving(nbytes, local, cluster.inside.latency, cluster.inside.rate)
    return inside + collectives.halving(nbytes / local, machines, cluster.between.latency, cluster.port_rate())


ALGORITHMS: dict[str, Callable[[Cluster, float, int], float]] = {
    "ring": _ring,
    "trees": _trees,
    "direct": _direct,
    "halving": _halving,
}
CHOICES = {"nccl": ("ring", "trees"), "same bytes": ("direct", "halving")}
CLUSTERS = {
    "H100, InfiniBand": Cluster(CARDS["H100"], LINKS["nvlink4"], LINKS["ndr"]),
    "A100, InfiniBand": Cluster(CARDS["A100"], LINKS["nvlink3"], LINKS["hdr"]),
    "B200, InfiniBand": Cluster(CARDS["B200"], LINKS["nvlink5"], LINKS["ndr"], memory=MEMORY["B200"]),
    "H100, Ethernet": Cluster(CARDS["H100"], LINKS["nvlink4"], LINKS["ethernet100"], ports=1),
}
"""DGX systems with a network port of 400 Gb/s (A100: 200 Gb/s) for each GPU, and one port of 100 Gb/s for all eight."""
