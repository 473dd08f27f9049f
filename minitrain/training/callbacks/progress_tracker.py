"""Loss, throughput and time left on the screen."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ...records.progress import Progress, compilation_shown, make_progress
from ..callback import Callback

if TYPE_CHECKING:
    from ..step import Update
    from ..trainer import Trainer


class ProgressTracker(Callback):
    """Shows how training goes: a bar on a terminal, a changing line in a notebook, else plain lines."""

    def __init__(self) -> None:
        self._screen = ExitStack()
        self._progress: Progress | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Begin to show."""
        progress = make_progress(trainer.state.step, trainer.total_steps)
        self._progress = self._screen.enter_context(progress)
        self._screen.enter_context(compilation_shown(progress))

    def on_step_end(self, trainer: Trainer, update: Update) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.advance(trainer.state.step)

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Show the figures of a record."""
        if self._progress is not None:
            self._progress.log(record)

    def on_evaluate(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Say the validation loss; the one at the end is for the summary."""
        if self._progress is not None and not trainer.is_over():
            best = " (best so far)" if trainer.state.best_step == trainer.state.step else ""
            self._progress.say(f"step {trainer.state.step}: validation loss {metrics['val_loss']:.4f}{best}")

    def on_train_end(self, trainer: Trainer) -> None:
        """Say why it ended early, if it did."""
        if self._progress is not None and trainer.state.stopped:
            self._progress.say(f"stopped after step {trainer.state.step}: {trainer.state.stopped}")

    def close(self) -> None:
        """Leave the screen in order."""
        self._screen.close()
        self._progress = None
