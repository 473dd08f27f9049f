"""How long an all-reduce takes on ranks that are all connected alike: closed forms.

``S`` bytes are added over ``P`` ranks; a message costs a latency ``a`` and ``1/b`` for each byte. A rank sends and
receives at the same time.

=============  ====================================  =======================================================
algorithm      seconds                               order of the sums
=============  ====================================  =======================================================
`ring`         ``2 (P-1) (a + S/(P b))``             along the ring: another one for each number of ranks
`direct`       ``2 ((P-1) S/(P b) + a)``             the tree of `minitrain.distributed.tree`
`halving`      ``2 (log2(P) a + (P-1) S/(P b))``     the same tree, if neighbours begin; P is a power of two
`tree`         ``2 ceil(log2 P) (a + S/b)``          the same tree
=============  ====================================  =======================================================

`halving` is what `minitrain.distributed.Group` does on 16 ranks and more, if they are a power of two. Otherwise it does
`direct`: each part has an owner who gets it from all. Its messages are in flight together, so it pays the latency
twice, where a rank can send many at once; `message` seconds each are the cost of that. R. Thakur, R. Rabenseifner and
W. Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), derive ring, halving and tree.
`minitrain.scaling.simulated` runs them message by message, and tests compare.
"""

from __future__ import annotations

from collections.abc import Sequence


def ring(nbytes: float, ranks: int, latency: float, rate: float) -> float:
    """Seconds of an all-reduce where each rank hands a part to the next, twice around."""
    return 2 * (ranks - 1) * (latency + nbytes / (ranks * rate))


def direct(nbytes: float, ranks: int, latency: float, rate: float, message: float = 0.0) -> float:
    """Seconds of an all-reduce where every rank sends each part to its owner, who sends the sum to all."""
    if ranks == 1:
        return 0.0
    return 2 * ((ranks - 1) * (message + nbytes / (ranks * rate)) + latency)


def halving(nbytes: float, ranks: int, latency: float, rate: float) -> float:
    """Seconds of an all-reduce where pairs exchange halves, then quarters, and so on, and all of it backwards."""
    return 2 * (rounds(ranks) * latency + (ranks - 1) / ranks * nbytes / rate)


def tree(nbytes: float, ranks: int, latency: float, rate: float) -> float:
    """Seconds of an all-reduce along a binomial tree to rank 0 and back. For other than powers of two, at most."""
    return 2 * rounds(ranks) * (latency + nbytes / rate)


def rounds(ranks: int) -> int:
    """How often ranks can be paired: the logarithm of their number to base 2, rounded up."""
    return (ranks - 1).bit_length()


def pipelined(ready: Sequence[float], seconds: Sequence[float]) -> float:
    """When the last of several messages ends, which share one wire and become ready one after the other.

    So the gradients of layers are sent while the backward computes those of earlier layers.

    Args:
        ready: when each message may begin, ascending.
        seconds: that each takes.

    Example:
        >>> pipelined([1.0, 2.0, 3.0], [0.5, 0.5, 0.5]), pipelined([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
        (3.5, 7.0)
    """
    end = 0.0
    for at, one in zip(ready, seconds, strict=True):
        end = max(end, at) + one
    return end


def pipelined_equal(count: int, compute: float, send: float) -> float:
    """`pipelined` for ``count`` equal pieces, each computed and then sent: the slower of both sets the pace."""
    return compute + send + (count - 1) * max(compute, send)
