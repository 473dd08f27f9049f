"""What a training came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..checkpoint.manifest import Location
from ..records.collector import MetricsCollector

if TYPE_CHECKING:
    from .trainer import Trainer


@dataclass(frozen=True)
class TrainResult:
    """What a finished training came to.

    Attributes:
        step: number of updates done.
        parameters: number of weights of the model.
        val_loss: loss on all of the validation data, per target; ``None`` without such data.
        best_val_loss: the lowest validation loss seen.
        best_step: where it was.
        seconds: time spent, over all sessions.
        tokens_per_second: training speed, the median of the logged ones.
        stopped: why training ended before its last step; empty if it did not.
        history: everything that was logged.
        checkpoint: where the last checkpoint is; ``None`` without a run folder.
    """

    step: int
    parameters: int
    val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    seconds: float
    tokens_per_second: float
    stopped: str
    history: MetricsCollector
    checkpoint: Location | None

    @classmethod
    def of(cls, trainer: Trainer) -> TrainResult:
        """The result of a trainer that has come to its end."""
        state, history = trainer.state, trainer.history
        speeds = [speed for speed in history.get_metric("tokens_per_second") if np.isfinite(speed)]
        kept = trainer.checkpoints.checkpoints() if trainer.checkpoints is not None else []
        return cls(
            step=state.step,
            parameters=sum(parameter.data.size for _, parameter in trainer.model.named_parameters()),
            val_loss=history.get_latest("val_loss") if trainer.evaluator is not None else None,
            best_val_loss=state.best_val_loss,
            best_step=state.best_step,
            seconds=state.seconds,
            tokens_per_second=float(np.median(speeds)) if speeds else 0.0,
            stopped=state.stopped,
            history=history,
            checkpoint=kept[-1] if kept else None,
        )

    def describe(self) -> str:
        """A line or two for the screen."""
        speed = f", {self.tokens_per_second:,.0f} targets/s" if self.tokens_per_second else ""
        lines = [f"trained {self.parameters:,} parameters for {self.step} steps in {self.seconds:.0f} s{speed}"]
        if self.stopped:
            lines.append(f"stopped early: {self.stopped}")
        if self.val_loss is not None:
            lines.append(f"validation loss {self.val_loss:.4f}, best {self.best_val_loss:.4f} at step {self.best_step}")
        return "\n".join(lines)
