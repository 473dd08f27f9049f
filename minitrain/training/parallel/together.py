"""The joint work of ranks that train: add their gradients, share what went wrong, and agree what comes next.

All ranks have the same weights, and together the same number of micro-batches. Each works on its share of them.
Gradients are added in a fixed tree, losses in the order of the micro-batches. So weights, moments and metrics have the
same bytes for every valid number of ranks, a single one included.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...backend.arrays import Array, to_numpy
from ...checkpoint.products import saved_products
from ...data.loading.parts import some_micro_batches
from ...distributed.agreement import refuse_differences
from ...distributed.group import Group
from ...distributed.micro_batches import check_ranks
from ...distributed.tree import TreeSum
from ...errors import BadSampleError, CheckpointError, NonFiniteError
from ...nn.core.nonfinite import first_bad_gradient, first_bad_parameter
from ...ops.contract.loss import Loss
from ...optim.clip import Clip, clip_to
from ...records.facts import flat
from ...versions import versions
from ..callbacks.base import Callback, sees_gradients, sees_gradients_of_parts
from ..config import TrainingConfig
from ..feed import batch_to
from ..privacy.gradients import PrivateGradients
from ..setup import Setup
from ..state import Control
from .gradient_sum import GradientSum

_REQUESTS = ("log", "evaluate", "save", "skip", "rollback", "stop")
_DONE, _NOT_FINITE = 1, 2  # states of a micro-batch; one that does not exist has 0


class Together:
    """One rank of a training on several.

    Args:
        group: the ranks.
        micro_batches: number of micro-batches of a step, over all ranks.
        overlap: whether a gradient is added when a module says that it is complete, while the last backward is running.
        zero: the stage of ZeRO; in 1 and 2 each rank gets its share of the sum alone, see `GradientSum`.
        half: whether gradients travel with 16 bits.

    Attributes:
        mine: the numbers of those of this rank.
        sums: adds the gradients.

    Raises:
        ConfigError: if so many ranks cannot share so many micro-batches.
    """

    def __init__(
        self, group: Group, micro_batches: int, *, overlap: bool = True, zero: int = 0, half: bool = False
    ) -> None:
        check_ranks(micro_batches, group.size)
        self.group, self.micro_batches, self.overlap = group, micro_batches, overlap
        self.sums = GradientSum(group, micro_batches, zero=zero, half=half)
        self.mine = self.sums.mine

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
            MinitrainError: if a gradient was changed after a module said that it was ready.
        """
        done: list[Loss] = []
        error = None
        each, sums = iter(losses), self.sums
        sums.begin(model, overlap=self.overlap)
        try:
            try:
                for number in range(count):
                    with sums.term(last=number == count - 1):
                        done.append(next(each))
                    sums.take(last=number == count - 1)
            except NonFiniteError as problem:
                error = problem
            sums.finish()
        except BaseException:
            sums.background.abandon()
            raise
        return self._share_losses(done, error)

    def clip(self, model: Any, max_norm: float | None, *, count: float) -> Clip:
        """The factor that limits the norm of the mean gradient, as `clip_by_global_norm` has it; the same on all ranks.

        Raises:
            NonFiniteError: on every rank, if a gradient is not finite; the message names one.
        """
        self.sums.prepare(model)
        total = self.sums.norm()
        if not math.isfinite(total):
            reason = first_bad_parameter(model) or self._first_bad_gradient(model) or "its squares overflow"
            raise NonFiniteError(f"the gradient's norm is {total}: {reason}")
        return clip_to(total, max_norm, count=count)

    def add_up_private(self, gradients: PrivateGradients, losses: Iterable[Loss]) -> Loss:
        """Add the clipped gradients and the losses of all samples of all ranks; noise comes later, once for the whole.

        Args:
            gradients: adds up the clipped gradients of the samples; in the end those of all ranks.
            losses: yields the summed loss of each of this rank's micro-batches, which may have no sample.

        Returns:
            The loss of the whole batch.

        Raises:
            NonFiniteError: on every rank, if a loss or a sample's gradient is not finite on one.
        """
        done: list[Loss] = []
        error, tree = None, TreeSum([gradients.flat])
        try:
            for loss in losses:
                done.append(loss)
                last = len(done) == len(self.mine)
                tree.add(last=last)
                if not last:
                    gradients.flat[...] = 0
        except NonFiniteError as problem:
            error = problem
        total = self._share_losses(done, error)
        self.group.all_reduce(gradients.flat)
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

    def _first_bad_gradient(self, model: Any) -> str | None:
        """The first gradient that is not finite, by its name; each rank looks at those that it has."""
        if not self.sums.scatter:
            return first_bad_gradient(model)
        for phrase in self.group.gather(self.sums.first_bad()):
            if phrase is not None:
                return str(phrase)
        return None

    def _share_losses(self, done: list[Loss], error: NonFiniteError | None) -> Loss:
        """The sum of all losses, in the order of the micro-batches; one that is not finite is an error on all ranks."""
        of_ranks = np.zeros((self.group.size, len(self.mine), 3))  # total, count and state of each
        for place, loss in enumerate(done):
            of_ranks[self.group.rank, place] = loss.total, loss.count, _DONE
        if error is not None:
            of_ranks[self.group.rank, min(len(done), len(self.mine) - 1), 2] = _NOT_FINITE
        self.group.all_gather(of_ranks.reshape(-1))
        table = (of_ranks.swapaxes(0, 1) if self.sums.in_turn else of_ranks).reshape(-1, 3)  # by micro-batch
        if (bad := np.flatnonzero(table[:, 2] == _NOT_FINITE)).size:
            raise self._told_by(int(bad[0] % self.group.size if self.sums.in_turn else bad[0] // len(self.mine)), error)
        total = count = 0.0
        for row in table[table[:, 2] == _DONE].tolist():
            total += row[0]
            count += row[1]
        return Loss(total, count)

    def _told_by(self, rank: int, error: NonFiniteError | None) -> NonFiniteError:
        """The error of that rank, on all ranks."""
        mine = None if error is None else [isinstance(error, BadSampleError), str(error)]
        bad_sample, message = self.group.gather(mine)[rank]
        if error is not None and str(error) == message:
            return error
        return (BadSampleError if bad_sample else NonFiniteError)(message)


def together_as(config: TrainingConfig, group: Group, callbacks: Iterable[Callback] = ()) -> Together:
    """The ranks of a training with these settings.

    Args:
        config: the settings.
        group: the ranks.
        callbacks: of all ranks. Gradients do not travel before a callback that may read those of a micro-batch has. If
            one may read gradients at all, or a scaler does, every rank gets the whole sum in stage 1 too.
    """
    callbacks = list(callbacks)
    whole = config.precision == "float16" or any(map(sees_gradients, callbacks))
    return Together(
        group,
        config.gradient_accumulation_steps,
        overlap=config.overlap and not any(map(sees_gradients_of_parts, callbacks)),
        zero=0 if config.zero == 1 and whole else config.zero,
        half=config.reduce_dtype == "bfloat16",
    )


def _checksum(so_far: int, array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(to_numpy(array)).reshape(-1).view(np.uint8).data, so_far)
