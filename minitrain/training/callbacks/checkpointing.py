"""When to save, besides every so many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError
from ..callback import Callback

if TYPE_CHECKING:
    from ..step import Update
    from ..trainer import Trainer


class Checkpointing(Callback):
    """Asks for checkpoints: at the end of epochs, and every so many minutes.

    Checkpoints every so many steps are a setting of the trainer, ``save_every``.

    Args:
        every_epochs: at the end of every so many epochs; 0 for never.
        every_minutes: when the last one is so old; 0 for never.

    Raises:
        ConfigError: if a setting is negative.
    """

    def __init__(self, *, every_epochs: int = 1, every_minutes: float = 0.0) -> None:
        if every_epochs < 0 or every_minutes < 0:
            raise ConfigError(
                f"Checkpointing: every_epochs={every_epochs} and every_minutes={every_minutes} must not be negative"
            )
        self.every_epochs, self.every_minutes = every_epochs, every_minutes
        self._saved_at = 0.0  # on the clock of the run

    def on_train_begin(self, trainer: Trainer) -> None:
        """The clock runs from here."""
        self._saved_at = trainer.state.seconds

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Save at the end of the epoch, if it is its turn."""
        trainer.control.save |= self.every_epochs > 0 and trainer.state.epoch % self.every_epochs == 0

    def on_step_end(self, trainer: Trainer, update: Update) -> None:
        """Save if the last checkpoint is old enough."""
        if self.every_minutes and trainer.clock() - self._saved_at >= 60 * self.every_minutes:
            trainer.control.save = True

    def on_save(self, trainer: Trainer, path: str) -> None:
        """Remember when."""
        self._saved_at = trainer.state.seconds
