"""The CPU seconds and the bytes of a training step on several ranks of this machine, from six costs.

With M micro-batches of a step, P ranks, N weights, and all ranks' seconds added up::

    seconds = M micro_batch + (M - P) addition + P update + bytes byte + P calls (call + (P - 1) message)
    bytes   = 2 (P - 1) 4 N                                    all ranks together

where ``calls`` is how often a rank calls its group's ``exchange`` in a step.

``(M - P) addition`` are the additions within ranks; those between ranks are part of the cost of a byte. None of the
six costs comes from a training on more than one rank: `measured.runs` measures one rank with two numbers of
micro-batches, additions alone, and all-reduces alone, and counts the calls of a step. So what the model says of 2, 4
and 8 ranks is a prediction.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import ConfigError


class Costs(NamedTuple):
    """CPU seconds of one core.

    Attributes:
        micro_batch: forward and backward of one.
        addition: of the gradients of a micro-batch to others, with its copy.
        update: what a rank does once a step: clipping, optimizer, callbacks.
        byte: that is sent, received and added.
        call: of the group's exchange, whatever it sends.
        message: from one rank to another in such a call.
        weights: N.
        calls: of the group's exchange in a step.
    """

    micro_batch: float
    addition: float
    update: float
    byte: float
    call: float
    message: float
    weights: int
    calls: float

    def bytes_of_step(self, ranks: int) -> float:
        """That all ranks together send for the sum of the gradients."""
        return 2.0 * (ranks - 1) * 4 * self.weights

    def parts(self, ranks: int, micro_batches: int) -> dict[str, float]:
        """CPU seconds of a step on all ranks together, by what they are for."""
        return {
            "micro-batches": micro_batches * self.micro_batch,
            "additions": (micro_batches - ranks) * self.addition,
            "updates": ranks * self.update,
            "bytes": self.bytes_of_step(ranks) * self.byte,
            "calls": self.calls * ranks * (self.call + (ranks - 1) * self.message) if ranks > 1 else 0.0,
        }

    def seconds(self, ranks: int, micro_batches: int) -> float:
        """CPU seconds of a step on all ranks together."""
        return sum(self.parts(ranks, micro_batches).values())


class Exchanged(NamedTuple):
    """An all-reduce, with all ranks together: its CPU seconds, bytes, calls and messages."""

    seconds: float
    nbytes: float
    calls: float
    messages: float


def costs_from(
    alone: dict[int, float],
    addition: float,
    large: Exchanged,
    small: Exchanged,
    wider: Exchanged,
    *,
    weights: int,
    calls: float,
) -> Costs:
    """The six costs.

    Args:
        alone: CPU seconds of a step on one rank, by its number of micro-batches; two of them.
        addition: CPU seconds of one addition of all gradients.
        large: an all-reduce of many bytes.
        small: one of few, on as many ranks.
        wider: one of few on more ranks, so that a call sends more messages.
        weights: N.
        calls: of the group's exchange in a step.

    Raises:
        ConfigError: if two numbers of micro-batches, sizes of buffers or numbers of ranks are the same.
    """
    if len(alone) != 2 or large.nbytes == small.nbytes or small.messages == wider.messages:
        raise ConfigError("a fit needs two numbers of micro-batches, of ranks, and two buffers of different sizes")
    (few, fewer), (many, more) = sorted(alone.items())
    slope = (more - fewer) / (many - few)
    byte = (large.seconds - small.seconds) / (large.nbytes - small.nbytes)
    each, each_wider = ((one.seconds - byte * one.nbytes) / one.calls for one in (small, wider))
    message = (each_wider - each) / (wider.messages / wider.calls - small.messages / small.calls)
    return Costs(
        micro_batch=slope - addition,
        addition=addition,
        update=fewer - few * slope + addition,  # one rank adds one time less than it has micro-batches
        byte=byte,
        call=each - small.messages / small.calls * message,
        message=message,
        weights=weights,
        calls=calls,
    )
