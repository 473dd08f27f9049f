"""Averaged weights beside the ones that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...optim import ExponentialAverage
from ..callback import Callback

if TYPE_CHECKING:
    from ..loop import Update
    from ..trainer import Trainer


class EMA(Callback):
    """Keeps an exponential moving average of the weights, and validates with it.

    Args:
        decay: weight of the past; the average looks back over about ``1 / (1 - decay)`` updates.
        evaluate: whether validation takes the averaged weights.

    Attributes:
        average: the `ExponentialAverage`; ``with callback.average.applied():`` gives the model its weights.
    """

    def __init__(self, decay: float = 0.999, *, evaluate: bool = True) -> None:
        self.decay, self.evaluate = decay, evaluate
        self.average: ExponentialAverage | None = None
        self._saved: Mapping[str, Any] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """Begin with the present weights, or with the average of a checkpoint."""
        if self.average is None:
            self.average = ExponentialAverage(trainer.model, decay=self.decay)
            self._take_up()
        if self.evaluate:
            trainer.evaluation_weights = self.average.applied

    def on_step_end(self, trainer: Trainer, update: Update) -> None:
        """Take the new weights into the average."""
        if self.average is not None and not update.skipped:
            self.average.update()

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, by path of the parameter."""
        return {} if self.average is None else dict(self.average.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self._saved = state
        self._take_up()

    def _take_up(self) -> None:
        if self.average is not None and self._saved:
            self.average.load_state_dict(self._saved)
            self._saved = {}
