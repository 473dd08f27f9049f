"""A history by epochs, for trainers that count in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend.arrays import to_number
from ..states import Kind, ListOf, Number, TableOf
from ..training.callbacks.base import Callback
from ..training.setup import StepView
from ..training.state import Update

ANY_NUMBER = Number(finite=False)


class EpochHistory(Callback):
    """Validates at the end of every epoch, and keeps a list of each metric with one value an epoch.

    Attributes:
        history: ``train_loss``, ``learning_rate``, and with validation data ``val_loss`` and each metric as
            ``val_<name>``.
    """

    reads_numbers = False

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {"train_loss": [], "learning_rate": []}
        self._loss: Any = 0.0
        self._count: Any = 0.0
        self._lr = 0.0

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Add up the losses of the epoch."""
        if not update.skipped:
            self._loss = self._loss + update.loss  # on a GPU if the losses are there
            self._count = self._count + update.tokens
        self._lr = update.lr

    def on_epoch_end(self, view: StepView) -> None:
        """Close the epoch, and ask for its evaluation."""
        loss, count = to_number(self._loss), to_number(self._count)
        self.history["train_loss"].append(loss / count if count else float("nan"))
        self.history["learning_rate"].append(self._lr)
        self._loss = self._count = 0.0
        if not view.is_over:  # the trainer's last evaluation is that of the last epoch
            view.control.log = view.control.evaluate = True

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Keep the evaluation, of an epoch's end only."""
        if len(self.history.get("val_loss", ())) < len(self.history["train_loss"]):
            for name, value in metrics.items():
                if name.startswith("val_") and name != "val_tokens":
                    self.history.setdefault(name, []).append(float(value))

    def state_dict(self) -> dict[str, Any]:
        """The history, and the sums of the present epoch."""
        self._loss, self._count = to_number(self._loss), to_number(self._count)
        return {"history": self.history, "loss": self._loss, "count": self._count, "lr": self._lr}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"history": TableOf(ListOf(ANY_NUMBER)), **dict.fromkeys(("loss", "count", "lr"), ANY_NUMBER)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if state:
            self.history = {name: list(values) for name, values in state["history"].items()}
            self._loss, self._count, self._lr = state["loss"], state["count"], state["lr"]
