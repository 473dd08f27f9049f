"""The checkpoints of a trainer as a `CheckpointManager`, for programs that count in epochs and save by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..checkpoint.format import Contents
from ..checkpoint.manager import CheckpointManager
from ..checkpoint.manifest import Location, checkpoint_name
from ..checkpoint.store import CheckpointStore
from ..states import Anything, Group, Kind, Maybe, Number, TableOf, Whole
from ..training.callbacks.base import Callback
from ..training.saving.capture import Capture
from ..training.setup import StepView

FOLDER = "saved"
PROGRESS: dict[str, Kind] = {
    "current_epoch": Whole(),
    "global_step": Whole(),
    "best_val_metric": Maybe(Number()),
    "patience_counter": Whole(),
}
"""The entries of a manager's state; users may add to it."""


class TrainerCheckpoints(CheckpointManager):
    """Saves and loads a whole trainer, through the methods of a `CheckpointManager`.

    Its checkpoints are in the folder ``saved`` beside the trainer's own, and hold the same. All are named by the step
    that the trainer is at, so a trainer can resume from any of them.

    Args:
        store: the trainer's checkpoints.
        capture: has the state of the trainer.
        load: restores the trainer from the checkpoint at a place.

    Attributes:
        extra: the additional values of the checkpoint that was saved or loaded last.
    """

    def __init__(self, store: CheckpointStore, capture: Capture, load: Callable[[Location], None]) -> None:
        self._trainer_store, self._capture, self._load = store, capture, load
        self.extra: dict[str, Any] = {}
        setup = capture.setup
        super().__init__(
            setup.model,
            setup.optimizer,
            store.folder.location(FOLDER),
            setup.schedule,
            keep=store.keep,
            keep_best=max(1, store.keep_best),
            metric=store.metric,
            mode=store.mode,
            warn=store.warn,
        )

    def get_checkpoint_path(self, epoch: int, metric_value: float) -> Location:
        """Where a checkpoint of the present step belongs, which remembers ``metric_value``."""
        name = checkpoint_name(self._capture.state.step)
        self._values[name] = float(metric_value)
        return self.store.folder.location(name)

    def contents(self, step: int, extra: Mapping[str, Any]) -> Contents:
        """Everything that the trainer needs to go on, and ``extra``."""
        self.extra = dict(extra)  # `EpochProgress` brings it into the checkpoint, with the state
        return self._capture.contents()

    def load_checkpoint(self, path: Location) -> dict[str, Any]:
        """Restore the trainer and the state of this manager from the checkpoint at ``path``.

        Returns:
            The state and what else was saved, by name.

        Raises:
            CheckpointError: if it is damaged or belongs to another model or trainer; nothing is loaded then.
        """
        self._load(path)
        return {**self.state, **self.extra}

    def get_latest_checkpoint(self) -> Location | None:
        """The newest intact checkpoint of the trainer; if it has none, the newest of this manager, or ``None``."""
        return self._trainer_store.latest() or super().get_latest_checkpoint()


class EpochProgress(Callback):
    """Keeps the epoch and the step in the state of a manager, and that state in the checkpoints of the trainer.

    Attributes:
        manager: whose state it is; ``None`` without a folder.
    """

    def __init__(self) -> None:
        self.manager: TrainerCheckpoints | None = None

    def on_epoch_end(self, view: StepView) -> None:
        """Note how far the training is."""
        if self.manager is not None:
            self.manager.update_state(current_epoch=view.epoch, global_step=view.step)

    def state_dict(self) -> dict[str, Any]:
        """The state of the manager, what users added to it, and what else it saves."""
        if self.manager is None:
            return {}
        state = self.manager.state
        added = {name: value for name, value in state.items() if name not in PROGRESS}
        return {"progress": {name: state[name] for name in PROGRESS}, "added": added, "extra": self.manager.extra}

    def state_kinds(self, model: Any) -> Mapping[str, Kind]:
        """See the base class."""
        return {"progress": Group(PROGRESS), "added": TableOf(Anything()), "extra": TableOf(Anything())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        if self.manager is not None and state:
            self.manager.state, self.manager.extra = {**state["progress"], **state["added"]}, dict(state["extra"])
