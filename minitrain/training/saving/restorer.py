"""Back to a checkpoint: one by its place, the newest, or the newest with the batches behind a bad one."""

from __future__ import annotations

from collections.abc import Callable

from ...checkpoint.format import Checkpoint
from ...checkpoint.manifest import Location
from ...checkpoint.store import CheckpointStore, split_location
from ...errors import CheckpointError
from .capture import Capture
from .saver import CheckpointSaver


class Restorer:
    """Brings a training back to a checkpoint.

    Args:
        capture: puts the state of a checkpoint into the training.
        saver: knows the newest checkpoint, and how to warn.
        on_restored: called after each return.
    """

    def __init__(self, capture: Capture, saver: CheckpointSaver, on_restored: Callable[[], object]) -> None:
        self.capture, self.saver, self.on_restored = capture, saver, on_restored

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            CheckpointError: if it belongs to another training; nothing is changed then.
        """
        self.capture.restore(checkpoint, self.saver.warn)
        self.capture.run.resumed = True
        self.on_restored()

    def load(self, path: Location) -> None:
        """Go on from the checkpoint at ``path``.

        Raises:
            CheckpointError: if it is damaged or belongs to another training; nothing is changed then.
        """
        self.saver.finish()
        parent, name = split_location(path)
        self.restore(CheckpointStore(parent).load(name))

    def load_newest(self) -> Checkpoint | None:
        """Go on from the newest intact checkpoint and return it; ``None`` if there is none at all.

        Raises:
            CheckpointError: if there are some, all damaged, or it belongs to another training.
        """
        newest = self.saver.load_newest()
        if newest is not None:
            self.restore(newest)
        return newest

    def roll_back(self) -> None:
        """Go back to the newest intact checkpoint, and on from there with the batches after the present one.

        Raises:
            CheckpointError: if there is none.
        """
        state = self.capture.state
        bad, rollbacks = state.step + state.data_offset, state.rollbacks + 1
        newest = self.load_newest()
        if newest is None:
            raise CheckpointError(f"step {state.step + 1}: there is no checkpoint to roll back to")
        state.rollbacks, state.data_offset = rollbacks, bad + 1 - state.step
        self.saver.warn(f"rolled back to {newest.path}; going on behind the batch of step {bad + 1}")
