"""Pictures of a run while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...folder import RunFolder
from ...folder.names import PLOTS
from ..callback import Callback

if TYPE_CHECKING:
    from ..step import Update
    from ..trainer import Trainer


class Plots(Callback):
    """Draws what was logged so far into ``plots`` of the run folder, one picture for each kind of figure.

    At the end of ``minitrain train`` they are drawn anyway; this is for looking at a run that trains. A round of
    pictures takes about as long as a second of training: not too often.

    Args:
        every: steps between two rounds; 0 draws at each evaluation.

    Raises:
        ConfigError: if it is negative.
    """

    def __init__(self, *, every: int = 0) -> None:
        if every < 0:
            raise ConfigError(f"Plots: every={every} must be 0 (at each evaluation) or more")
        self.every = every

    def on_step_end(self, trainer: Trainer, update: Update) -> None:
        """Draw, if it is time."""
        if self.every and trainer.state.step % self.every == 0:
            self._draw(trainer)

    def on_evaluate(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Draw, if evaluations are when to."""
        if not self.every:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if trainer.run_dir is not None and trainer.history.names():
            trainer.history.plot_history(RunFolder(trainer.run_dir).make(PLOTS))
