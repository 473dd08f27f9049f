"""What the ranks of a training do as one: add their gradients, share what went wrong, and agree what comes next.

All ranks have the same weights, and together the same number of micro-batches. Each works on its share of them.
Gradients are added in a fixed tree, losses in the order of the micro-batches. So weights, moments and metrics have the
same bytes for every valid number of ranks, a single one included.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...backend.arrays import Array, to_numpy
from ...checkpoint.products import saved_products
from ...data.loading.parts import some_micro_batches
from ...distributed.agreement import refuse_differences
from ...distributed.group import Group
from ...distributed.micro_batches import check_ranks, share_of
from ...distributed.tree import TreeSum
from ...errors import BadSampleError, CheckpointError, NonFiniteError
from ...ops.contract.loss import Loss
from ...optim.groups import gradients
from ...records.facts import flat
from ...versions import versions
from ..feed import batch_to
from ..setup import Setup
from ..state import Control

_REQUESTS = ("log", "evaluate", "save", "skip", "rollback", "stop")
_DONE, _NOT_FINITE = 1, 2  # states of a micro-batch; one that does not exist has 0


class Together:
    """One rank of a training on several.

    Args:
        group: the ranks.
        micro_batches: number of micro-batches of a step, over all ranks.

    Attributes:
        mine: the numbers of those of this rank.

    Raises:
        ConfigError: if so many ranks cannot share so many micro-batches.
    """

    def __init__(self, group: Group, micro_batches: int) -> None:
        check_ranks(micro_batches, group.size)
        self.group, self.micro_batches = group, micro_batches
        self.mine = share_of(group.rank, group.size, micro_batches)
        self._tree: TreeSum | None = None

    def begin(self, setup: Setup) -> None:
        """Make sure that all ranks compute with the same versions and products.

        Raises:
            ConfigError: on every rank, if one differs.
        """
        products = saved_products(setup.device, setup.arithmetic.precision)
        facts = {**versions(), **flat({"product": products})}
        refuse_differences(self.group, facts, "sums would differ in their last bits; run on machines of one kind")

    def refuse_other_weights(self, model: Any, step: int) -> None:
        """Make sure that all ranks still have the same weights.

        Raises:
            CheckpointError: on every rank, if one differs: a checkpoint of these would be of no use.
        """
        sums = self.group.gather(functools.reduce(_checksum, model.state_dict().values(), 0))
        if others := [rank for rank, one in enumerate(sums) if one != sums[0]]:
            raise CheckpointError(
                f"step {step}: the weights of rank {others[0]} are not those of rank 0, and nothing is saved. A "
                "callback that changes weights must do the same on all ranks; without such a callback, the machines "
                "compute differently"
            )

    def batch(self, setup: Setup, number: int) -> list[tuple[int, Any]]:
        """This rank's micro-batches of batch ``number``; nothing else is read where the loader knows how."""
        parts = some_micro_batches(setup.data, number, self.micro_batches, self.mine)
        return [(first, batch_to(part, setup.device)) for first, part in parts]

    def add_up(self, model: Any, losses: Iterable[Loss], count: int) -> Loss:
        """Add the gradients and the losses of all micro-batches of all ranks.

        Args:
            model: its gradients are fresh, and then those of one micro-batch after the other; in the end the sum.
            losses: yields the loss of each of this rank's micro-batches, after its backward.
            count: how many these are; fewer than `mine` if the batch has few samples.

        Returns:
            The loss of the whole batch.

        Raises:
            NonFiniteError: on every rank, if a loss is not finite on one; of the first such micro-batch.
        """
        done: list[Loss] = []
        error = None
        if self._tree is not None:
            self._tree.clear()  # an error may have ended the step before
        try:
            for loss in losses:
                done.append(loss)
                self._add_gradients(model, last=len(done) == count)
        except NonFiniteError as problem:
            error = problem
        total = self._share_losses(done, error)
        for array in _written(model):
            if not done:
                array[...] = -0.0  # which changes no bit of what it is added to, as 0 would
            self.group.all_reduce(array.reshape(-1))
        return total

    def agree(self, control: Control, signal: int = 0) -> int:
        """Have all ranks follow the requests of rank 0, whose callbacks may look at clocks and files.

        Args:
            control: the requests of this rank; those of rank 0 afterwards.
            signal: the signal that this rank got; 0 for none.

        Returns:
            The signal that any rank got.
        """
        told = np.zeros((self.group.size, 2), np.int64)
        requests = sum(bool(getattr(control, name)) << bit for bit, name in enumerate(_REQUESTS))
        told[self.group.rank] = requests, signal
        self.group.all_gather(told.reshape(-1))
        for bit, name in enumerate(_REQUESTS[:-1]):
            setattr(control, name, bool(told[0, 0] >> bit & 1))
        stops = told[0, 0] >> _REQUESTS.index("stop")  # the last bit
        control.stop = self.group.from_main(control.stop) if stops else ""
        return int(told[:, 1].max())

    def _add_gradients(self, model: Any, *, last: bool) -> None:
        arrays = _written(model)
        if self._tree is None or [*map(id, self._tree.arrays)] != [*map(id, arrays)]:
            self._tree = TreeSum(arrays)
        self._tree.add(last=last)
        if not last:
            for parameter in model.parameters():
                parameter.zero_grad()

    def _share_losses(self, done: list[Loss], error: NonFiniteError | None) -> Loss:
        """The sum of all losses, in the order of the micro-batches; one that is not finite is an error on all ranks."""
        table = np.zeros((self.micro_batches, 3))  # total, count and state of each
        for number, loss in zip(self.mine, done, strict=False):
            table[number] = loss.total, loss.count, _DONE
        if error is not None:
            table[self.mine[min(len(done), len(self.mine) - 1)], 2] = _NOT_FINITE
        self.group.all_gather(table.reshape(-1))
        if (table[:, 2] == _NOT_FINITE).any():
            raise self._first_of(error)
        total = count = 0.0
        for row in table[table[:, 2] == _DONE].tolist():
            total += row[0]
            count += row[1]
        return Loss(total, count)

    def _first_of(self, error: NonFiniteError | None) -> NonFiniteError:
        """The error of the lowest rank that has one, on all ranks."""
        mine = None if error is None else [isinstance(error, BadSampleError), str(error)]
        bad_sample, message = next(told for told in self.group.gather(mine) if told is not None)
        if error is not None and str(error) == message:
            return error
        return (BadSampleError if bad_sample else NonFiniteError)(message)


def _written(model: Any) -> list[Array]:
    """All gradients, with zeros where no backward has come; from here on all count as written."""
    for parameter in model.parameters():
        if parameter.trainable:
            _ = parameter.grad
    return gradients(model)


def _checksum(so_far: int, array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(array)).reshape(-1).view(np.uint8).data, so_far)
