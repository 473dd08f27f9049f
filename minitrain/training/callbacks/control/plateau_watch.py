"""Telling a `ReduceOnPlateau` how the evaluations went."""

from __future__ import annotations

from typing import Any

from ....errors import ConfigError
from ....optim import ReduceOnPlateau
from ...setup import RunContext, Setup, StepView
from ..base import Callback


class PlateauWatch(Callback):
    """Passes a metric of each evaluation to the scheduler, a `ReduceOnPlateau`, which keeps its own state.

    Args:
        monitor: the metric, ``"val_loss"`` or another one.
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        self.monitor = monitor
        self._schedule: Any = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Check that the scheduler follows a metric.

        Raises:
            ConfigError: if the trainer's scheduler follows no metric.
        """
        self._schedule = setup.schedule
        if not isinstance(self._schedule, ReduceOnPlateau):
            raise ConfigError("PlateauWatch needs a trainer whose scheduler is a ReduceOnPlateau")

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Pass the metric on."""
        if self.monitor not in metrics:
            raise ConfigError(f"PlateauWatch: no evaluation has {self.monitor}; it has {', '.join(metrics)}")
        self._schedule.step(metrics[self.monitor])
