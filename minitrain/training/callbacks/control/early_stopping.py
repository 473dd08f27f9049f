"""Stopping before the last step: no progress, a target reached, divergence, or time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....errors import ConfigError
from ....settings.better import check_mode, has_reached, is_better
from ....states import Kind, Maybe, Number, Whole
from ...setup import StepView
from ...state import Update
from ..base import Callback


class EarlyStopping(Callback):
    """Asks to stop when a metric no longer gets better (Prechelt, 1998, "Early Stopping - but when?").

    Args:
        monitor: the metric, from the evaluations (``"val_loss"``) or from the log (``"loss"``).
        patience: how many times in a row it may be no better than the best so far; ``None`` for any number.
        min_delta: what it must be better by to count.
        mode: ``"min"`` if less is better, ``"max"`` if more is.
        target: a value that is good enough.
        divergence: a value that is hopeless; NaN and infinity are, too, if it is given.

    Attributes:
        best: the best finite value so far, or ``None``.
        waited: how many times in a row it has been no better.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int | None = 5,
        min_delta: float = 0.0,
        mode: str = "min",
        target: float | None = None,
        divergence: float | None = None,
    ) -> None:
        check_mode("EarlyStopping", mode)
        if (patience is not None and patience < 1) or min_delta < 0:
            raise ConfigError(
                f"EarlyStopping: patience={patience} must be 1 or more, and min_delta={min_delta} not negative"
            )
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.target, self.divergence = target, divergence
        self.best: float | None = None
        self.waited = 0

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Look at the evaluation."""
        self._look(view, metrics)

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Look at the record."""
        self._look(view, record)

    def state_dict(self) -> dict[str, Any]:
        """The best value, and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"best": Maybe(Number()), "waited": Whole()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.best, self.waited = state.get("best"), state.get("waited", 0)

    def _look(self, view: StepView, metrics: Mapping[str, Any]) -> None:
        if self.monitor in metrics and not view.is_over:
            view.control.stop = self._verdict(float(metrics[self.monitor]))  # nobody has asked so far

    def _verdict(self, value: float) -> str:
        """Why to stop; empty to go on."""
        if is_better(value, self.best, self.mode, by=self.min_delta):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        what = f"{self.monitor} is {value:.6g}"
        if self.target is not None and has_reached(value, self.target, self.mode):
            return f"{what}, the target {self.target:.6g} is reached"
        if self.divergence is not None and not is_better(value, self.divergence, self.mode):
            return f"{what}, no better than {self.divergence:.6g}: it diverges"
        if self.patience is not None and self.waited >= self.patience:
            than = "never finite so far" if self.best is None else f"no better than {self.best:.6g}"
            return f"{what}, for {self.waited} times {than}"
        return ""


class TimeLimit(Callback):
    """Asks to stop when training has taken long enough, over all its sessions.

    Args:
        seconds: the time; the checkpoint comes after it.

    Raises:
        ConfigError: if it is not above 0.
    """

    reads_numbers = False

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < math.inf:
            raise ConfigError(f"TimeLimit: seconds={seconds} must be above 0")
        self.seconds = seconds

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Look at the clock."""
        if view.seconds >= self.seconds and not view.is_over:
            view.control.stop = f"the time limit of {self.seconds:g} s is over"
