"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checkpoint.manifest import Location
from ..display.markup import block, element, shown
from ..records.collector import MetricsCollector
from ..records.loss_curves import loss_curves
from .objective import counted_by
from .setup import RunContext
from .state import TrainerState


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished training.

    Attributes:
        step: number of updates done.
        parameters: number of weights of the model.
        val_loss: loss on all of the validation data, per target; ``None`` without such data.
        best_val_loss: the lowest validation loss seen.
        best_step: the step of that evaluation.
        seconds: time spent, over all sessions.
        tokens_per_second: training speed, the median of the logged ones.
        stopped: why training ended before its last step; empty if it did not.
        history: everything that was logged.
        checkpoint: the last checkpoint; ``None`` without a run folder.
        weights: the callback whose averaged weights were validated; empty for the trained weights.
        privacy: the budget that the training spent, in a sentence; empty if it was not private.
        findings: the findings of callbacks, a text for each that found something.
        counted: the unit of ``tokens_per_second``: ``"tokens"`` for a language model, else ``"targets"``.
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
    weights: str = ""
    counted: str = "targets"
    privacy: str = ""
    findings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        state: TrainerState,
        model: Any,
        run: RunContext,
        checkpoint: Location | None,
        findings: tuple[str, ...] = (),
    ) -> TrainResult:
        """The result of a training that has come to its end."""
        history = run.history
        speeds = [speed for speed in history.get_metric("tokens_per_second") if np.isfinite(speed)]
        return cls(
            step=state.step,
            parameters=sum(parameter.data.size for _, parameter in model.named_parameters()),
            val_loss=history.get_latest("val_loss") if run.evaluator is not None else None,
            best_val_loss=state.best_val_loss,
            best_step=state.best_step,
            seconds=state.seconds,
            tokens_per_second=float(np.median(speeds)) if speeds else 0.0,
            stopped=state.stopped,
            history=history,
            checkpoint=checkpoint,
            weights=run.weights.name,
            counted=counted_by(model),
            privacy="" if run.privacy is None else run.privacy.describe(state.step),
            findings=findings,
        )

    def amount(self) -> list[str]:
        """How much was trained in what time, why training ended early, if it did, and what callbacks found."""
        speed = f", {self.tokens_per_second:,.0f} {self.counted}/s" if self.tokens_per_second else ""
        lines = [f"trained {self.parameters:,} parameters for {self.step} steps in {self.seconds:.0f} s{speed}"]
        lines += [f"stopped early: {self.stopped}"] if self.stopped else []
        found = "\n".join(filter(None, (self.privacy, *self.findings)))
        return [*lines, *found.splitlines()]

    def describe(self) -> str:
        """A line or two for the screen."""
        lines = self.amount()
        if self.val_loss is not None:
            of = f" ({self.weights} weights)" if self.weights else ""
            lines.append(
                f"validation loss{of} {self.val_loss:.4f}, best {self.best_val_loss:.4f} at step {self.best_step}"
            )
        return "\n".join(lines)

    @shown
    def _repr_html_(self) -> str:
        troubles = [f"{found.kind}: {found.message}" for found in self.history.diagnose_training_issues()]
        lines = [element("div", line) for line in (*self.describe().splitlines(), *troubles)]
        return block(*lines, loss_curves(self.history.curves()))
