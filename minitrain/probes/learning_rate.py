"""The learning rate that suits a training, found by letting the rate rise."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backend.precision import use_precision
from ..errors import ConfigError, NonFiniteError
from ..training.setup import HasSetup, Setup, setup_of
from ..training.steps.plain import train_step
from .restored import state_restored


@dataclass(frozen=True)
class RateSearch:
    """The result of a search for the learning rate.

    Attributes:
        rates: the rates tried.
        losses: mean loss at each of them.
        smoothed: the losses, smoothed.
        suggestion: where the smoothed loss fell most steeply.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float

    def plot(self, path: str | Path = "learning_rates.png") -> Path:
        """Draw the losses over the rates; returns the PNG file."""
        from ..plotting.style import TRAIN, VALIDATION, new_figures, save_figure

        figure, (axes,) = new_figures([("loss while the learning rate rises", "loss")], xlabel="learning rate")
        axes.plot(self.rates, self.losses, color=TRAIN, alpha=0.25, linewidth=1)
        axes.plot(self.rates, self.smoothed, color=TRAIN, linewidth=2)
        axes.axvline(self.suggestion, color=VALIDATION, linestyle="--", label=f"suggestion {self.suggestion:.1e}")
        axes.set_xscale("log")
        axes.set_ylim(min(self.smoothed) - 0.1, self.smoothed[0] + 0.5 * (self.smoothed[0] - min(self.smoothed)) + 0.1)
        axes.legend(framealpha=0.9, edgecolor="none")
        save_figure(figure, path)
        return Path(path)


def find_learning_rate(
    training: Setup | HasSetup, *, low: float = 1e-6, high: float = 1.0, steps: int = 100, divergence: float = 4.0
) -> RateSearch:
    """Train while the rate rises, and see where the loss falls most steeply (Smith, 2017, arXiv:1506.01186).

    Args:
        training: a trainer that is ready to train, or its `Setup`; it is as before afterwards.
        low: first rate.
        high: last rate.
        steps: updates in between, each rate a constant factor above the one before.
        divergence: stop when the smoothed loss is this many times the lowest.

    Raises:
        ConfigError: if the rates are not in order, or the loss fell nowhere.
    """
    if not 0 < low < high or steps < 10:
        raise ConfigError(f"find_learning_rate: 0 < low = {low} < high = {high} is needed, and steps = {steps} >= 10")
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    setup = setup_of(training)
    begin = 0 if isinstance(training, Setup) else training.state.step
    scaler = deepcopy(setup.arithmetic.scaler)  # the training's own stays as it is
    with state_restored(setup), use_precision(setup.arithmetic.precision):
        for i in range(steps):
            rate = low * (high / low) ** (i / (steps - 1))
            try:
                update = train_step(
                    setup.model,
                    setup.optimizer,
                    setup.batch(begin + i),
                    lr=rate,
                    key=setup.key.fold("find learning rate", i),
                    max_grad_norm=setup.max_grad_norm,
                    objective=setup.objective,
                    scaler=scaler,
                )
            except NonFiniteError:
                break
            loss = update.loss / update.tokens
            average = 0.9 * average + 0.1 * loss
            rates.append(rate)
            losses.append(loss)
            smoothed.append(average / (1 - 0.9 ** (i + 1)))
            if smoothed[-1] > divergence * min(smoothed):
                break
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    noise = float(np.std(losses[: max(5, len(losses) // 3)])) if losses else 0.0
    if lowest < 2 or smoothed[0] - smoothed[lowest] < 3 * noise:
        raise ConfigError(
            f"find_learning_rate: the loss fell by no more than its noise between {low} and {high}: try other rates, "
            "more steps, or larger batches"
        )
    steepest = int(np.argmin(np.gradient(smoothed[: lowest + 1])))
    return RateSearch(rates, losses, smoothed, rates[steepest])
