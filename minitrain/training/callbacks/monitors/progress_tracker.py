"""Loss, throughput and time left on the screen."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ....records.progress import Progress, compilation_shown, make_progress
from ...objective import counted_by
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback


class ProgressTracker(Callback):
    """Shows how training goes: a bar on a terminal, curves that grow in a notebook, else plain lines."""

    on_every_rank = False
    reads_numbers = False

    def __init__(self) -> None:
        self._screen = ExitStack()
        self._progress: Progress | None = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Begin to show; say whether matrices are multiplied as before."""
        progress = make_progress(view.step, view.total_steps, counted_by(setup.model), run.history)
        self._progress = self._screen.enter_context(progress)
        self._screen.enter_context(compilation_shown(progress))
        if run.products:
            progress.say(run.products)

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.advance(view.step)

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Show the metrics of a record."""
        if self._progress is not None:
            self._progress.log(record)

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Say the validation loss; the one at the end is for the summary."""
        if self._progress is not None and not view.is_over:
            self._progress.evaluated(view.step, metrics["val_loss"], best=view.best_step == view.step)

    def on_train_end(self, view: StepView) -> None:
        """Say why it ended early, if it did."""
        if self._progress is not None and view.stopped:
            self._progress.say(f"stopped after step {view.step}: {view.stopped}")

    def close(self) -> None:
        """Leave the screen in order."""
        self._screen.close()
        self._progress = None
