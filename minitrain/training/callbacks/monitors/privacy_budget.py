"""The budget that a private training has spent."""

from __future__ import annotations

from typing import Any

from ...privacy import DPSGD
from ...setup import RunContext, Setup, StepView
from ..base import Callback


class PrivacyBudget(Callback):
    """Adds ``epsilon`` to the records of a private training: an upper bound of what all updates so far have spent.

    The bound is quick; the end of a run states a closer one, see `minitrain.training.epsilon_of`. A trainer with
    ``privacy`` adds this callback by itself.
    """

    def __init__(self) -> None:
        self._privacy: DPSGD | None = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep what counts."""
        self._privacy = run.privacy

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Add the budget."""
        if self._privacy is not None:
            record["epsilon"] = self._privacy.epsilon(view.step, quick=True)
