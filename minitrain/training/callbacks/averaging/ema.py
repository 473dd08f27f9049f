"""Averaged weights beside the ones that are trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from ....optim import ExponentialAverage, StochasticWeightAverage, WeightAverage
from ....states import Kind, OneArray
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback


class WeightAveraging(Callback):
    """Keeps an average of the weights, and validates with it; a subclass says which average.

    Args:
        evaluate: whether validation takes the averaged weights.

    Attributes:
        average: the `WeightAverage`; ``with callback.average.applied():`` gives the model its weights.
    """

    reads_numbers = False

    def __init__(self, *, evaluate: bool = True) -> None:
        self.evaluate = evaluate
        self.average: WeightAverage | None = None
        self._saved: Mapping[str, Any] = {}

    @abstractmethod
    def make(self, model: Any) -> WeightAverage:
        """The average, begun with the model's present weights."""

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Begin with the present weights, or with the average of a checkpoint."""
        if self.average is None:
            self.average = self.make(setup.model)
            self._take_up()
        if self.evaluate:
            run.weights.use(self.name or type(self).__name__, self.average.applied)

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Take the new weights into the average."""
        if self.average is not None and not update.skipped:
            self.average.update()

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, by path of the parameter."""
        return {} if self.average is None else dict(self.average.state_dict())

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        average = self.make(model) if self.average is None else self.average
        return {path: OneArray(array) for path, array in average.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._saved = state
        self._take_up()

    def _take_up(self) -> None:
        if self.average is not None and self._saved:
            self.average.load_state_dict(self._saved)
            self._saved = {}


class EMA(WeightAveraging):
    """Keeps an exponential moving average of the weights, and validates with it (`ExponentialAverage`).

    Args:
        decay: weight of the past; the average looks back over about ``1 / (1 - decay)`` updates.
        evaluate: whether validation takes the averaged weights.
    """

    def __init__(self, decay: float = 0.999, *, evaluate: bool = True) -> None:
        super().__init__(evaluate=evaluate)
        self.decay = decay

    def make(self, model: Any) -> ExponentialAverage:
        """See the base class."""
        return ExponentialAverage(model, decay=self.decay)


class SWA(WeightAveraging):
    """Keeps the plain mean of the weights from an update on, and validates with it (`StochasticWeightAverage`).

    The paper (Izmailov et al., 2018, arXiv:1803.05407) starts it in the last quarter of a run, under a rate that stays
    constant or goes up and down.

    Args:
        start: number of the update, counted from 1, after which the first weights are taken.
        every: number of updates between two takings.
        evaluate: whether validation takes the averaged weights.
    """

    def __init__(self, start: int = 1, every: int = 1, *, evaluate: bool = True) -> None:
        super().__init__(evaluate=evaluate)
        self.start, self.every = start, every

    def make(self, model: Any) -> StochasticWeightAverage:
        """See the base class."""
        return StochasticWeightAverage(model, start=self.start, every=self.every)
