"""The changing part of a training: records of a step, where the training stands, and the requests of callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..backend.arrays import is_cupy, to_number
from ..errors import CheckpointError
from ..ops.contract.loss import Loss
from ..optim import Clip
from ..states import Kind, Maybe, Number, Text, Whole, checked


class Gradient(NamedTuple):
    """The complete gradient of a step, before the update.

    Attributes:
        loss: summed loss of the batch, and its count.
        clip: norm of the mean gradient, and the factor that clips it.
    """

    loss: Loss
    clip: Clip


class Update(NamedTuple):
    """The record of one training step.

    Attributes:
        loss: summed loss of the batch, in nats. It and the next two are arrays () if they have stayed on a GPU.
        tokens: number of targets; the mean loss is ``loss / tokens``.
        grad_norm: global norm of the mean gradient, before clipping.
        lr: learning rate of the update.
        skipped: whether the weights were left as they were.
        step: number of updates done, this one included; 0 outside a trainer.
        seconds: duration of the step; 0 outside a trainer.
    """

    loss: Any
    tokens: Any
    lr: float
    grad_norm: Any
    skipped: bool = False
    step: int = 0
    seconds: float = 0.0


@dataclass
class TrainerState:
    """Where a training stands; saved with every checkpoint.

    Attributes:
        step: number of updates done, skipped ones included.
        epoch: number of epochs completed.
        data_offset: batches passed over by rolling back; update ``step`` reads batch ``step + data_offset``.
        skipped: updates left out because of a NaN or a spike.
        rollbacks: returns to an older checkpoint because of one.
        tokens: number of targets (tokens, samples) trained on.
        seconds: time spent, over all sessions of the run.
        best_val_loss: lowest validation loss so far.
        best_step: the step of that evaluation.
        window_loss: summed loss since the last log record.
        window_tokens: targets since the last log record.
        window_seconds: time of the training steps since the last log record.
        stopped: why training ended before its last step; empty if it did not.
    """

    step: int = 0
    epoch: int = 0
    data_offset: int = 0
    skipped: int = 0
    rollbacks: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    best_val_loss: float | None = None
    best_step: int | None = None
    window_loss: float = 0.0
    window_tokens: float = 0.0
    window_seconds: float = 0.0
    stopped: str = ""

    def __post_init__(self) -> None:
        self.start_clock()

    def start_clock(self) -> None:
        """Count the time of this session from now on."""
        self._started = time.monotonic()

    def clock(self) -> float:
        """Time spent on this run up to now, over all its sessions, in seconds."""
        now = time.monotonic()
        self.seconds += now - self._started
        self._started = now
        return self.seconds

    def count(self, update: Update) -> None:
        """Count an update, or one that was skipped, which adds to no loss.

        Losses that are on a GPU add up there, and so do numbers of targets; `settle` reads them.
        """
        self.window_seconds += update.seconds
        if update.skipped:
            self.skipped += 1
            return
        self.tokens += update.tokens
        self.window_loss += update.loss
        self.window_tokens += update.tokens

    def take_window(self) -> tuple[float, float]:
        """Mean loss and targets per second since the last call; NaN if all updates were skipped."""
        self.settle()
        tokens = self.window_tokens
        mean = self.window_loss / tokens if tokens else math.nan
        speed = tokens / self.window_seconds if self.window_seconds else math.nan
        self.window_loss = self.window_tokens = self.window_seconds = 0.0
        return mean, speed

    def settle(self) -> None:
        """Read what adds up on a GPU, which waits for it; the wait is time of the steps since the last record.

        Raises:
            MinitrainError: if an update since then was wrong, see `minitrain.backend.deferred`.
        """
        began, waited = time.perf_counter(), False
        for name in ("window_loss", "tokens", "window_tokens"):
            if is_cupy(value := getattr(self, name)):
                setattr(self, name, to_number(value))
                waited = True
        if waited:
            self.window_seconds += time.perf_counter() - began

    def take(self, other: TrainerState) -> None:
        """Become equal to another state."""
        for name, value in asdict(other).items():
            setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        self.settle()
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainerState:
        """A state from its fields; unknown ones are left out, missing ones keep their defaults.

        Raises:
            CheckpointError: if a value is not of its field's type or out of range.
        """
        known = {name: value for name, value in values.items() if name in DECLARED}
        state = cls(**checked("trainer", known, DECLARED, optional=DECLARED))
        if state.epoch > state.step or (state.best_step or 0) > state.step:
            raise CheckpointError(
                f"the trainer state is damaged: epoch {state.epoch} or the best step {state.best_step} is beyond "
                f"step {state.step}"
            )
        return state


_AMOUNT = Number(low=0)
DECLARED: dict[str, Kind] = {
    **dict.fromkeys(("step", "epoch", "data_offset", "skipped", "rollbacks"), Whole()),
    **dict.fromkeys(("tokens", "seconds", "window_tokens", "window_seconds"), _AMOUNT),
    "window_loss": Number(),
    "best_val_loss": Maybe(Number()),
    "best_step": Maybe(Whole()),
    "stopped": Text(),
}
"""The values that a saved `TrainerState` may hold; see `minitrain.states`."""


@dataclass
class Control:
    """The requests of callbacks to the trainer. All but ``stop`` holds for the step at hand and is then forgotten.

    Attributes:
        stop: why training shall end after this step; empty goes on.
        log: write a record.
        evaluate: measure the validation loss.
        save: save a checkpoint.
        skip: leave the weights as they are in this step.
        rollback: go back to the newest intact checkpoint and go on behind the batch at hand.
    """

    stop: str = ""
    log: bool = False
    evaluate: bool = False
    save: bool = False
    skip: bool = False
    rollback: bool = False

    def begin_step(self) -> None:
        """Forget all requests but ``stop``."""
        self.log = self.evaluate = self.save = self.skip = self.rollback = False


def due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps happens after this one; never if ``every`` is 0."""
    return every > 0 and step % every == 0
