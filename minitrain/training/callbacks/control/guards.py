"""Guards against a loss that is not finite, or that jumps: stop, skip the batch, or roll back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....errors import ConfigError, NonFiniteError
from ....nn.core.nonfinite import first_bad_parameter
from ....states import Kind, Number, Whole
from ...setup import RunContext, Setup, StepView
from ...state import Gradient, Update
from ..base import Callback

POLICIES = ("stop", "skip", "rollback")


class NaNGuard(Callback):
    """Skips or rolls back when a loss or a gradient is NaN or infinite, up to a number of times.

    Skipping leaves the weights as they are for one step. It helps against a bad batch; when a parameter itself is not
    finite, no batch would do, and the guard does not even try. Rolling back takes the newest intact checkpoint and
    goes on with the batches behind the bad one.

    Args:
        policy: ``"stop"``, ``"skip"`` or ``"rollback"``.
        most: how often in a run; after that training stops with the error.

    Attributes:
        count: how often it has happened.
    """

    def __init__(self, policy: str = "skip", *, most: int = 10) -> None:
        _check("NaNGuard", policy, most)
        self.policy, self.most = policy, most
        self.count = 0
        self._model: Any = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the model, to see whether its parameters are finite."""
        self._model = setup.model

    def on_nan(self, view: StepView, error: NonFiniteError) -> None:
        """Ask for what the policy says."""
        if self.count >= self.most or (self.policy == "skip" and first_bad_parameter(self._model)):
            return
        self.count += 1
        _ask(view, self.policy, f"step {view.step + 1}: {error}")

    def state_dict(self) -> dict[str, Any]:
        """How often it has happened."""
        return {"count": self.count}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"count": Whole()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the count back; a rollback does not take back what it was for."""
        self.count = max(self.count, state.get("count", 0))


class SpikeGuard(Callback):
    """Skips or rolls back when the loss or the gradient's norm jumps far above what it was.

    A running mean and variance of the last updates tell what is usual; more than ``threshold`` standard deviations
    above it is a spike (as in Chowdhery et al., 2022, arXiv:2204.02311, section 5.1, which went back and passed over
    the batches).

    Args:
        policy: ``"stop"``, ``"skip"`` or ``"rollback"``.
        threshold: how many standard deviations above the mean.
        monitor: ``"loss"`` or ``"grad_norm"``.
        decay: weight of the past in the running mean.
        warmup: number of updates before anything counts as a spike.
        most: how often in a run; after that training stops with an error.

    Attributes:
        count: how often it has happened.
    """

    reads_gradients = False

    def __init__(
        self,
        policy: str = "skip",
        *,
        threshold: float = 6.0,
        monitor: str = "loss",
        decay: float = 0.98,
        warmup: int = 50,
        most: int = 10,
    ) -> None:
        _check("SpikeGuard", policy, most)
        if monitor not in ("loss", "grad_norm") or threshold <= 0 or not 0 < decay < 1 or warmup < 2:
            raise ConfigError(
                f"SpikeGuard: monitor={monitor!r} must be 'loss' or 'grad_norm', threshold={threshold} above 0, "
                f"decay={decay} between 0 and 1, warmup={warmup} at least 2"
            )
        self.policy, self.threshold, self.monitor = policy, threshold, monitor
        self.decay, self.warmup, self.most = decay, warmup, most
        self.count = self.seen = 0
        self.mean = self.variance = 0.0

    def on_before_optimizer_step(self, view: StepView, gradient: Gradient) -> None:
        """Compare with what is usual, before the weights are touched.

        Raises:
            NonFiniteError: if the policy is to stop, or the spikes are too many.
        """
        value = gradient.loss.mean if self.monitor == "loss" else gradient.clip.norm
        usual = self.mean + self.threshold * math.sqrt(self.variance)
        if self.seen < self.warmup or value <= usual:
            return
        what = f"step {view.step + 1}: {self.monitor} {value:.4g} is a spike, usual are up to {usual:.4g}"
        if self.policy == "stop" or self.count >= self.most:
            raise NonFiniteError(what.partition(": ")[2])
        self.count += 1
        _ask(view, self.policy, what)

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Take the update into the running mean, unless it was skipped."""
        if update.skipped:
            return
        value = update.loss / update.tokens if self.monitor == "loss" else update.grad_norm
        self.seen += 1
        weight = max(1 - self.decay, 1 / self.seen)  # a plain mean at first
        gap = value - self.mean
        self.mean += weight * gap
        self.variance = (1 - weight) * (self.variance + weight * gap * gap)

    def state_dict(self) -> dict[str, Any]:
        """The running mean and variance, and the count."""
        return {"count": self.count, "seen": self.seen, "mean": self.mean, "variance": self.variance}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"count": Whole(), "seen": Whole(), "mean": Number(), "variance": Number(low=0.0)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back; a rollback does not take back what it was for."""
        self.count = max(self.count, state.get("count", 0))
        self.seen = state.get("seen", 0)
        self.mean, self.variance = float(state.get("mean", 0.0)), float(state.get("variance", 0.0))


def _check(owner: str, policy: str, most: int) -> None:
    if policy not in POLICIES or most < 0:
        raise ConfigError(f"{owner}: policy={policy!r} must be one of {', '.join(POLICIES)}; most={most}, 0 or more")


def _ask(view: StepView, policy: str, reason: str) -> None:
    """Request what the policy says, and tell the user."""
    if policy == "skip":
        view.control.skip = True
        view.warn(f"{reason}; this batch is skipped")
    elif policy == "rollback":
        view.control.rollback = True
        view.warn(f"{reason}; rolling back")
