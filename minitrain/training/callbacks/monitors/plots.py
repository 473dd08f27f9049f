"""Pictures of a run while it trains."""

from __future__ import annotations

from typing import Any

from ....errors import ConfigError
from ....folder import RunFolder
from ....folder.names import PLOTS
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback


class Plots(Callback):
    """Draws what was logged so far into ``plots`` of the run folder, one picture for each kind of metric.

    At the end of ``minitrain train`` they are drawn anyway; this is for looking at a run that trains. A round of
    pictures takes about as long as a second of training: not too often.

    Args:
        every: steps between two rounds; 0 draws at each evaluation.

    Raises:
        ConfigError: if it is negative.
    """

    on_every_rank = False
    reads_numbers = False

    def __init__(self, *, every: int = 0) -> None:
        if every < 0:
            raise ConfigError(f"Plots: every={every} must be 0 (at each evaluation) or more")
        self.every = every
        self._run = RunContext()

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the history and the folder."""
        self._run = run

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Draw, if it is time."""
        if self.every and view.step % self.every == 0:
            self._draw()

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Draw, if evaluations are when to."""
        if not self.every:
            self._draw()

    def _draw(self) -> None:
        if self._run.folder is not None and self._run.history.names():
            self._run.history.plot_history(RunFolder(self._run.folder).make(PLOTS))
