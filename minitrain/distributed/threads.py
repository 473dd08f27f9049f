"""Threads of one process as ranks: for tests, for notebooks, and to watch a debugger step through all ranks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .group import Group, Messages, PeerLost

T = TypeVar("T")


class Mailboxes:
    """The memory that the ranks of a `ThreadGroup` share.

    Args:
        size: number of ranks.
        patience: seconds that a rank waits for another.
    """

    def __init__(self, size: int, patience: float = 60.0) -> None:
        self.size, self.patience = size, patience
        pairs = [(a, b) for a in range(size) for b in range(size) if a != b]
        self.queues: dict[tuple[int, int], SimpleQueue[bytes | None]] = {pair: SimpleQueue() for pair in pairs}

    def lose(self, rank: int) -> None:
        """Tell all others that a rank ended."""
        for other in range(self.size):
            if other != rank:
                self.queues[rank, other].put(None)


class ThreadGroup(Group):
    """One thread's view of a group of threads.

    Args:
        rank: this rank.
        mailboxes: shared by all ranks.
    """

    def __init__(self, rank: int, mailboxes: Mailboxes) -> None:
        super().__init__(rank, mailboxes.size)
        self.mailboxes = mailboxes

    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """See the base class."""
        for rank, data in outgoing.items():
            self.mailboxes.queues[self.rank, rank].put(data.tobytes())
        for rank, place in incoming.items():
            try:
                message = self.mailboxes.queues[rank, self.rank].get(timeout=self.mailboxes.patience)
            except Empty:
                raise PeerLost(
                    f"rank {self.rank}: nothing came from rank {rank} for {self.mailboxes.patience:g} s"
                ) from None
            if message is None:
                self.mailboxes.queues[rank, self.rank].put(None)  # it stays lost
                raise PeerLost(f"rank {self.rank}: rank {rank} ended")
            place[:] = message

    def close(self) -> None:
        """Tell the others that no more will come."""
        self.mailboxes.lose(self.rank)


def run_ranks(size: int, work: Callable[[Group], T], *, patience: float = 60.0) -> list[T]:
    """Run ``work(group)`` in as many threads as there are ranks.

    Args:
        size: number of ranks.
        work: what a rank does.
        patience: seconds that a rank waits for another.

    Returns:
        What it returned, by rank.

    Raises:
        Exception: the error of the lowest rank that failed by itself and not for want of another.

    Example:
        >>> import numpy as np
        >>> def work(group):
        ...     array = np.full(3, 1.0 + group.rank)
        ...     group.all_reduce(array)
        ...     return array.tolist()
        >>> run_ranks(2, work)
        [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]
    """
    mailboxes = Mailboxes(size, patience)
    results: dict[int, Any] = {}
    errors: dict[int, BaseException] = {}

    def run(rank: int) -> None:
        group = ThreadGroup(rank, mailboxes)
        try:
            results[rank] = work(group)
        except BaseException as error:
            errors[rank] = error
        finally:
            group.close()

    threads = [threading.Thread(target=run, args=(rank,), name=f"rank-{rank}", daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in sorted(errors, key=lambda rank: (isinstance(errors[rank], PeerLost), rank)):
        raise errors[rank]
    return [results[rank] for rank in range(size)]
