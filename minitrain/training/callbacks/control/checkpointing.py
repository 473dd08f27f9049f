"""When to save, besides every so many steps."""

from __future__ import annotations

from ....errors import ConfigError
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback


class Checkpointing(Callback):
    """Asks for checkpoints: at the end of epochs, and every so many minutes.

    Checkpoints every so many steps are a setting of the trainer, ``save_every``.

    Args:
        every_epochs: at the end of every so many epochs; 0 for never.
        every_minutes: when the last one is so old; 0 for never.

    Raises:
        ConfigError: if a setting is negative.
    """

    reads_numbers = False

    def __init__(self, *, every_epochs: int = 1, every_minutes: float = 0.0) -> None:
        if every_epochs < 0 or every_minutes < 0:
            raise ConfigError(
                f"Checkpointing: every_epochs={every_epochs} and every_minutes={every_minutes} must not be negative"
            )
        self.every_epochs, self.every_minutes = every_epochs, every_minutes
        self._saved_at = 0.0  # on the clock of the run

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """The clock runs from here."""
        self._saved_at = view.seconds

    def on_epoch_end(self, view: StepView) -> None:
        """Save at the end of the epoch, if it is its turn."""
        view.control.save |= self.every_epochs > 0 and view.epoch % self.every_epochs == 0

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Save if the last checkpoint is old enough."""
        if self.every_minutes and view.seconds - self._saved_at >= 60 * self.every_minutes:
            view.control.save = True

    def on_save(self, view: StepView, path: str) -> None:
        """Remember when."""
        self._saved_at = view.seconds
