"""The outputs of a model for the same few held-out inputs at each evaluation, kept for the report."""

from __future__ import annotations

from typing import Any

from ..folder import RunFolder
from ..records.made import write_made
from ..tasks import Prepared, Task
from ..tasks.task import TaskSettings
from ..training.callbacks.base import Callback
from ..training.setup import RunContext, Setup, StepView


class MadeOverTime(Callback):
    """Writes ``samples/step-….json`` after each evaluation, if the task shows something of this kind.

    The model has the weights that validation uses. A resumed run writes the same files again.

    Args:
        task: what is trained.
        config: its settings.
        prepared: its data.
    """

    on_every_rank = False

    def __init__(self, task: Task, config: TaskSettings, prepared: Prepared) -> None:
        self.task, self.config, self.prepared = task, config, prepared
        self._setup: Setup | None = None
        self._run = RunContext()

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep what is needed later."""
        self._setup, self._run = setup, run

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Let the model answer.

        Raises:
            FileError: if the file cannot be written.
        """
        if self._run.folder is None:
            return
        assert self._setup is not None  # since training has begun
        with self._run.weights.applied():
            made = self.task.made(self.config, self._setup.model, self.prepared)
        if made:
            write_made(RunFolder(self._run.folder), view.step, made)
