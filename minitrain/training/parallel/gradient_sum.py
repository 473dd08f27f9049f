"""Adds the gradients of all micro-batches of all ranks, bucket by bucket, while the last backward is still running.

A micro-batch is a *term*. Gradients travel in *rounds*: usually there is one, after the last term of a rank, and the
terms before it are added in place. If each rank is to keep the memory of its share alone, then each of its terms
travels, so that no rank has to keep more of them; see `GradientSum`.

The order of the buckets is the one in which rank 0's first backward finished them. A bucket is given to the background
when its turn comes and all its gradients are ready, so all ranks make the same calls, whatever their models do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import numpy as np

from ...backend.arrays import to_number
from ...backend.cpu.pages import give_back
from ...distributed.background import Background, OnStream, beside
from ...distributed.group import Group
from ...distributed.halves import round_in_place, rounded_add
from ...distributed.tree import TreeSum
from ...nn.core.module import Module
from ...nn.core.nonfinite import first_bad
from ...nn.core.ready import listening
from ...optim.buckets import Bucket, buckets_of
from ...optim.clip import sum_of_squares
from .timetable import Timetable

MOST_WAITING = 3
"""Buckets that may wait for their turn where memory is given back: more would take it."""


class GradientSum:
    """The sum of the gradients of a step, in the order of the tree (`minitrain.distributed.tree`).

    In stage 1 and 2 of ZeRO a rank has the sum of its share afterwards, its part of every bucket, and what it has in
    the rest is no sum. In stage 2 the memory of the rest is given back. If the number of ranks is a power of two, the
    ranks then take the micro-batches in turn, 0 1 | 2 3 for two ranks: what one round adds is a branch of the tree, and
    a rank keeps no more than its share of it.

    Args:
        group: the ranks.
        micro_batches: number of micro-batches of a step, over all ranks; each rank has equally many.
        zero: the stage of ZeRO.
        half: whether 16 bits of each number travel, see `minitrain.distributed.halves`.

    Attributes:
        background: makes the calls of the group beside the backward; on a CPU it knows how much of their time was
            hidden.
        scatter: whether each rank gets the sum of its share alone.
        sparing: whether the memory of the rest is given back.
        in_turn: whether ranks take the micro-batches in turn.
    """

    def __init__(self, group: Group, micro_batches: int, *, zero: int = 0, half: bool = False) -> None:
        self.group, self.micro_batches, self.half = group, micro_batches, half
        self.scatter, self.sparing = zero > 0 and group.size > 1, zero == 2 and group.size > 1
        self.share = micro_batches // group.size
        self.in_turn = self.sparing and self.share > 1 and group.size & (group.size - 1) == 0
        self.background: Background | OnStream = Background()
        self.buckets: list[Bucket] = []
        self._model: list[int] = []  # identities of what the buckets were made of
        self._timetable = Timetable([])
        self._overlap = False
        self._sent = self._round = 0

    @property
    def mine(self) -> range:
        """The numbers of this rank's micro-batches."""
        rank, size = self.group.rank, self.group.size
        if self.in_turn:
            return range(rank, self.micro_batches, size)
        return range(rank * self.share, (rank + 1) * self.share)

    @property
    def rounds(self) -> int:
        """How often the gradients travel in a step."""
        return self.share if self.in_turn else 1

    def begin(self, model: Module, *, overlap: bool) -> None:
        """Begin a step, with fresh gradients.

        Args:
            model: the model.
            overlap: whether gradients are complete when a module says so; otherwise all travel after the last term.
        """
        self.prepare(model)
        self._overlap = overlap
        for sums in (*self._local, *self._across):  # an error may have ended the step before
            sums.clear()
        self._sent = self._round = 0

    def prepare(self, model: Module) -> None:
        """Find the buckets of a model, unless they are known."""
        parameters = [p for p in model.parameters() if p.trainable]
        identity = [id(getattr(model, "flat", None)), *(id(p.grad_buffer()) for p in parameters)]
        if identity != self._model:  # it is new, or was packed, or some parameters were frozen
            self._model, self.buckets = identity, buckets_of(model)
            self._timetable = Timetable(self.buckets)
            if self.buckets:
                self.background = beside(self.buckets[0].grad, MOST_WAITING if self.sparing else None)
            add = rounded_add if self.half else None
            self._local = [TreeSum([bucket.grad], add) for bucket in self.buckets]
            self._across = [TreeSum([bucket.grad[self.own(bucket)]], add) for bucket in self.buckets]

    @contextlib.contextmanager
    def term(self, *, last: bool) -> Iterator[None]:
        """Around the forward and backward of a term; ``last`` says whether it is this rank's last one."""
        if self._overlap and (last or self.in_turn):
            self._timetable.begin()
            with listening(self._heard):
                yield
        else:
            yield

    def take(self, *, last: bool) -> None:
        """Take up the term that has just been computed; it travels if its time has come.

        Raises:
            MinitrainError: if a gradient was changed after a module said that it was ready.
        """
        if last or self.in_turn:
            if self._overlap:
                self._timetable.end()
            self._travel()
            return
        for bucket, sums in zip(self.buckets, self._local, strict=True):
            _complete(bucket)
            if self.half:
                round_in_place(bucket.grad)
            sums.add(last=False)
        self._clear()

    def finish(self) -> None:
        """Let everything travel that has not: all ranks then have their sums.

        A rank that had fewer terms than others sends -0, which changes no bit of what it is added to.
        """
        while self._round < self.rounds:
            self._travel(nothing=True)
        if self._overlap and not self._timetable.agreed:
            self._timetable.agree(self.group)

    def norm(self) -> float:
        """The Euclidean norm of the sum, with the same bits for every number of ranks.

        A bucket has as many blocks as there are micro-batches, so that a rank's part of it is some of them. Each rank
        measures its own.
        """
        ranks, blocks = self.group.size, self.micro_batches
        table = np.zeros((ranks, len(self.buckets), blocks // ranks))
        for row, bucket in zip(table[self.group.rank], self.buckets, strict=True):
            first, n = self.group.rank * row.size, bucket.grad.size
            for k in range(row.size):
                block = bucket.grad[n * (first + k) // blocks : n * (first + k + 1) // blocks]
                row[k] = to_number(sum_of_squares(block)) if block.size else 0.0
        self.group.all_gather(table.reshape(-1))
        in_order = table.transpose(1, 0, 2).reshape(-1)  # (ranks, buckets, blocks) -> (buckets * all blocks,)
        return float(np.sqrt(in_order.sum()))

    def own(self, bucket: Bucket) -> slice:
        """This rank's part of a bucket."""
        return self.group.part(bucket.grad.size)

    def first_bad(self) -> str | None:
        """The first bucket of which this rank's part is not finite, as a phrase; ``None`` if all are."""
        return first_bad(
            (f"the gradient of {' or '.join(bucket.parameters)}", bucket.grad[self.own(bucket)])
            for bucket in self.buckets
        )

    def _heard(self, module: Module) -> None:
        """A module says that its gradients are ready: send the buckets whose turn it is."""
        self._timetable.note(module)
        while self._timetable.is_ready(self._sent):
            self._send()

    def _travel(self, *, nothing: bool = False) -> None:
        """Send the buckets that were not sent before, and wait for the end of the round."""
        while self._sent < len(self.buckets):
            self._send(nothing=nothing)
        self.background.wait()
        self._sent, self._round = 0, self._round + 1
        if self._round < self.rounds:
            self._clear()

    def _send(self, *, nothing: bool = False) -> None:
        number = self._timetable.order[self._sent]
        _complete(self.buckets[number])
        if nothing:
            self.buckets[number].grad[...] = -0.0
        self._timetable.leave(self._sent)
        self._sent += 1
        self.background.submit(partial(self._add_up, number, last=self._round == self.rounds - 1))

    def _add_up(self, number: int, *, last: bool) -> None:
        """Add a bucket over all ranks, in the background."""
        grad = self.buckets[number].grad
        if self.half:
            round_in_place(grad)
        self._local[number].add(last=True)
        if not self.scatter:
            self.group.all_reduce(grad, half=self.half)
            return
        own = self.group.reduce_scatter(grad, half=self.half)
        if self.in_turn:
            self._across[number].add(last=last)
        if self.sparing:
            give_back(grad[: own.start])
            give_back(grad[own.stop :])

    def _clear(self) -> None:
        for bucket in self.buckets:
            for parameter in bucket.parameters.values():
                parameter.zero_grad()


def _complete(bucket: Bucket) -> None:
    """Write zeros where no backward has come; from here on all gradients count as written."""
    for parameter in bucket.parameters.values():
        if parameter.trainable:
            _ = parameter.grad
        else:
            parameter.grad_buffer()[...] = 0
