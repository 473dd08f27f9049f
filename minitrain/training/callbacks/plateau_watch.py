"""Telling a `ReduceOnPlateau` how the evaluations went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...optim import ReduceOnPlateau
from ..callback import Callback

if TYPE_CHECKING:
    from ..trainer import Trainer


class PlateauWatch(Callback):
    """Gives a figure of each evaluation to the trainer's scheduler, a `ReduceOnPlateau`, which keeps its own state.

    Args:
        monitor: the figure, ``"val_loss"`` or that of another metric.
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor

    def on_train_begin(self, trainer: Trainer) -> None:
        """Check that there is somebody to tell.

        Raises:
            ConfigError: if the trainer's scheduler follows no metric.
        """
        if not isinstance(trainer.schedule, ReduceOnPlateau):
            raise ConfigError("PlateauWatch needs a trainer whose scheduler is a ReduceOnPlateau")

    def on_evaluate(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Pass the figure on."""
        if self.monitor not in metrics:
            raise ConfigError(f"PlateauWatch: no evaluation has {self.monitor}; it has {', '.join(metrics)}")
        trainer.schedule.step(metrics[self.monitor])
