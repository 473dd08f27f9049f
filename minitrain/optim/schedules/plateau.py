"""A lower rate when a metric stops improving. This is the only scheduler that depends on more than the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from ...settings.better import Mode, check_mode, is_better
from ...states import Kind, Maybe, Number, Whole, checked
from ..checks import NOT_NEGATIVE, RATE, check_choice
from ..optimizer import Optimizer
from ..registry import register_schedule


@register_schedule("reduce_on_plateau")
class ReduceOnPlateau:
    """Multiplies the rate by ``factor`` when more than ``patience`` values in a row are no better than the best.

    Args:
        optimizer: its current rate is the initial one.
        mode: ``"min"`` if smaller values are better, as for a loss; ``"max"`` if larger ones are, as for an accuracy.
        factor: the rate is multiplied by this.
        patience: how many values in a row may fail to improve.
        threshold: a value must be better by more than this.
        threshold_mode: whether ``threshold`` is relative to the best value (``"rel"``) or absolute (``"abs"``).
        cooldown: number of values after a reduction that are not counted.
        min_lr: the lowest rate.
        eps: a reduction by this much or less is skipped.

    Attributes:
        best: the best value so far.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        mode: Mode = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        check_mode("ReduceOnPlateau", mode)
        check_choice("ReduceOnPlateau", "threshold_mode", threshold_mode, ("rel", "abs"))
        RATE.check("ReduceOnPlateau", factor=factor)
        NOT_NEGATIVE.check(
            "ReduceOnPlateau", patience=patience, threshold=threshold, cooldown=cooldown, min_lr=min_lr, eps=eps
        )
        self.optimizer, self.mode, self.threshold_mode = optimizer, mode, threshold_mode
        self.factor, self.patience, self.threshold = factor, patience, threshold
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self._bad = self._cooling = 0  # values in a row without improvement; values left in the cooldown

    def __call__(self, step: int) -> float:
        """The current rate, for any step, so that a trainer can use it as a schedule."""
        return self.get_lr()

    def step(self, metric: float) -> float:
        """Take a new value of the metric, and lower the rate if there was no improvement for too long.

        NaN and infinity are never better than the best so far.

        Returns:
            The current rate.
        """
        if is_better(metric, self.best, self.mode, by=self.threshold, relative=self.threshold_mode == "rel"):
            self.best, self._bad = float(metric), 0
        else:
            self._bad += 1
        if self._cooling > 0:
            self._cooling, self._bad = self._cooling - 1, 0
        if self._bad > self.patience:
            old = self.optimizer.get_lr()
            new = max(old * self.factor, self.min_lr)
            if old - new > self.eps:
                self.optimizer.set_lr(new)
            self._cooling, self._bad = self.cooldown, 0
        return self.optimizer.get_lr()

    def get_lr(self) -> float:
        """The current rate."""
        return self.optimizer.get_lr()

    def state_dict(self) -> dict[str, Any]:
        """The state: the best value, the two counts, and the rate."""
        best = None if math.isinf(self.best) else self.best  # JSON has no infinity
        return {"best": best, "bad": self._bad, "cooling": self._cooling, "lr": self.get_lr()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that ``state_dict`` gave.

        Raises:
            CheckpointError: if it is not such a state.
        """
        declared: dict[str, Kind] = {"best": Maybe(Number()), "bad": Whole(), "cooling": Whole(), "lr": Number(low=0)}
        state = checked("scheduler", state, declared)
        if state["best"] is not None:
            self.best = float(state["best"])
        self._bad, self._cooling = state["bad"], state["cooling"]
        self.optimizer.set_lr(float(state["lr"]))
