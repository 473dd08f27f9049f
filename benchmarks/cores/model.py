"""A model of how long a step takes on more cores, from one-thread times of its calls.

A call on P threads takes ``max(largest part of its one-thread time, bytes / bandwidth(P)) + launch(P)``: arithmetic
divides over threads as far as its pieces do, all threads share the memory, and waking the threads costs something. What
runs outside of operations stays as it is. Data that one thread got faster than memory allows came from the caches,
of which every core brings its own: no bandwidth limits them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .splits import Split

CACHED = 1.5
"""How many times faster than memory a call must be to count as served by the caches; less is noise."""


class Timed(NamedTuple):
    """A call of a step.

    Attributes:
        name: the operation and its direction.
        seconds: its time on one thread.
        nbytes: bytes that it reads and writes.
        split: how it is split; ``None`` if it runs on one thread.
    """

    name: str
    seconds: float
    nbytes: int
    split: Split | None


@dataclass(frozen=True)
class Cores:
    """The properties of a machine's threads: their costs, and the resources that they share.

    Attributes:
        bandwidth_1: bytes per second of one thread.
        bandwidth_2: of two.
        saturation: of any number; an assumption where there are more cores than were measured.
        launch_2: seconds to start and end a loop on two threads.
        launch_more: seconds for each further thread; an assumption.
    """

    bandwidth_1: float
    bandwidth_2: float
    saturation: float
    launch_2: float
    launch_more: float = 1e-7

    def bandwidth(self, threads: int) -> float:
        """Bytes per second: each thread adds what the second one added, up to the saturation."""
        second = min(max(self.bandwidth_2 - self.bandwidth_1, 0.0), self.bandwidth_1)
        grown = self.bandwidth_1 + (threads - 1) * second
        return max(self.bandwidth_1, self.bandwidth_2 if threads > 1 else 0.0, min(grown, self.saturation))

    def launch(self, threads: int) -> float:
        """Seconds to start and end a loop; one thread runs without any."""
        return 0.0 if threads < 2 else self.launch_2 + (threads - 2) * self.launch_more

    def seconds(self, call: Timed, threads: int) -> float:
        """The time of a call."""
        if call.split is None or call.split.parts(threads) < 2:
            return call.seconds
        parts = call.split.parts(threads)
        work = call.seconds * call.split.largest_share(threads)
        return max(work, self._memory(call, parts)) + self.launch(parts)

    def limit(self, call: Timed, threads: int) -> str:
        """The limit that keeps the call from ``threads`` times the speed, in one word or two."""
        if call.split is None:
            return "one thread"
        if call.split.parts(threads) < threads:
            return "small work"
        if self._memory(call, threads) > call.seconds * call.split.largest_share(threads):
            return "memory"
        if self.launch(threads) > call.seconds * call.split.largest_share(threads):
            return "launch"
        return "few pieces" if call.split.largest_share(threads) > 1.2 / threads else ""

    def _memory(self, call: Timed, threads: int) -> float:
        alone = call.nbytes / self.bandwidth_1
        if alone > CACHED * call.seconds:
            return 0.0
        return min(call.nbytes, call.seconds * self.bandwidth_1) / self.bandwidth(threads)


class Prediction(NamedTuple):
    """A step, or the calls of one name in it.

    Attributes:
        name: operation and direction.
        one: seconds on one thread.
        many: seconds on more.
        limit: what most of the time is limited by.
    """

    name: str
    one: float
    many: float
    limit: str

    @property
    def speedup(self) -> float:
        """How many times as fast."""
        return self.one / self.many


def step_seconds(calls: Iterable[Timed], rest: float, cores: Cores, threads: int) -> float:
    """The time of a step: its calls one after the other, and what runs outside of them."""
    return sum(cores.seconds(call, threads) for call in calls) + rest


def by_operation(calls: Sequence[Timed], cores: Cores, threads: int) -> list[Prediction]:
    """The predictions for the calls of each name, slowest first."""
    found = []
    for name in dict.fromkeys(call.name for call in calls):
        mine = [call for call in calls if call.name == name]
        times = [cores.seconds(call, threads) for call in mine]
        slowest = mine[times.index(max(times))]
        found.append(Prediction(name, sum(call.seconds for call in mine), sum(times), cores.limit(slowest, threads)))
    return sorted(found, key=lambda one: -one.many)
