"""A discrete-event simulator of ranks, the ports between them, and the messages that pass.

A *task* takes some seconds on some ports: a message takes the sender's output and the receiver's input, a computation
takes a processor. It starts when all tasks that it follows have ended and all its ports are free. Assumptions:

- A port serves one task at a time, in the order in which tasks become ready; at the same time, in the order in which
  they were added. Nothing is divided and nothing is interrupted.
- A message is stored and forwarded whole: it takes its ports for bytes / bandwidth, and what follows may begin
  ``latency`` later. Input and output of a port are independent (full duplex).
- Only ports are scarce. What lies between them, such as switches, carries everything (full bisection bandwidth).
- Nothing fails, and nothing is lost or sent twice.
- Adding what arrives takes no time, unless it is a task of its own.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from ..errors import ConfigError

Port = Hashable
_END, _READY = 0, 1  # at the same time, ports become free before others take them


class Task(NamedTuple):
    """See the module.

    Attributes:
        seconds: that it takes its ports.
        ports: that it takes, all at once.
        after: numbers of the tasks that it follows.
        latency: seconds from its end until what follows it may begin.
    """

    seconds: float
    ports: tuple[Port, ...]
    after: tuple[int, ...]
    latency: float


class Timeline(NamedTuple):
    """The times at which things happened.

    Attributes:
        starts: of each task, by its number.
        ends: of each task; its latency comes after.
        seconds: until the last task and its latency are over.
        busy: seconds that each port was taken.
    """

    starts: list[float]
    ends: list[float]
    seconds: float
    busy: dict[Port, float]


class Simulator:
    """Collects tasks and runs them.

    Example:
        >>> simulator = Simulator()
        >>> first = simulator.add(2.0, ports=["wire"], latency=0.5)
        >>> second = simulator.add(1.0, ports=["wire"], after=[first])
        >>> simulator.run().seconds
        3.5
    """

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def add(
        self, seconds: float, *, ports: Sequence[Port] = (), after: Sequence[int] = (), latency: float = 0.0
    ) -> int:
        """Add a task; returns its number.

        Args:
            seconds: that it takes its ports.
            ports: that it takes.
            after: numbers of the tasks that it follows; they were added before, so there is no circle.
            latency: seconds from its end until what follows it may begin.

        Raises:
            ConfigError: if a time is negative, or it follows a task that was not added before.
        """
        number = len(self.tasks)
        if seconds < 0 or latency < 0:
            raise ConfigError(f"a task of {seconds} s and a latency of {latency} s: neither can be negative")
        if any(not 0 <= one < number for one in after):
            raise ConfigError(f"task {number} follows {list(after)}: add those before it")
        self.tasks.append(Task(seconds, tuple(ports), tuple(after), latency))
        return number

    def run(self) -> Timeline:
        """Run all tasks from time 0."""
        tasks = self.tasks
        starts, ends = [0.0] * len(tasks), [0.0] * len(tasks)
        missing = [len(set(task.after)) for task in tasks]
        followers: dict[int, list[int]] = defaultdict(list)
        for number, task in enumerate(tasks):
            for before in set(task.after):
                followers[before].append(number)
        ready_at = [0.0] * len(tasks)
        queues: dict[Port, deque[int]] = defaultdict(deque)
        busy: dict[Port, float] = defaultdict(float)
        events = [(0.0, _READY, number) for number, count in enumerate(missing) if not count]
        heapq.heapify(events)
        last = 0.0

        def start(number: int, now: float) -> None:
            starts[number], ends[number] = now, now + tasks[number].seconds
            heapq.heappush(events, (ends[number], _END, number))

        def first_everywhere(number: int) -> bool:
            return all(queues[port][0] == number for port in tasks[number].ports)

        while events:
            now, kind, number = heapq.heappop(events)
            task = tasks[number]
            if kind == _READY:
                for port in task.ports:
                    queues[port].append(number)
                if first_everywhere(number):
                    start(number, now)
                continue
            last = max(last, now + task.latency)
            for port in task.ports:
                queues[port].popleft()
                busy[port] += task.seconds
            # A task waits in all its queues at once, so it starts when it comes to the head of the last of them.
            for waiting in dict.fromkeys(queues[port][0] for port in task.ports if queues[port]):
                if first_everywhere(waiting):
                    start(waiting, now)
            for follower in followers[number]:
                missing[follower] -= 1
                ready_at[follower] = max(ready_at[follower], now + task.latency)
                if not missing[follower]:
                    heapq.heappush(events, (ready_at[follower], _READY, follower))
        return Timeline(starts, ends, last, dict(busy))
