"""A thin trainer for two modalities: epochs, recalls, and how well the two sides are aligned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..measures import pair_measures
from ..records.collector import MetricsCollector
from ..training.callbacks import Checkpointing
from ..training.callbacks.base import Callback
from ..training.config import TrainingConfig
from ..training.setup import RunContext, Setup, StepView
from .base import trainer_by_epochs
from .checkpoints import EpochProgress, TrainerCheckpoints
from .epochs import EpochHistory


class MultimodalTrainer:
    """Trains a model of pairs, such as `DualEncoder`, and measures retrieval after every epoch.

    Args:
        model: has ``loss``, ``loss_backward``, and ``loss_and_outputs``, whose outputs are the features of both sides.
        train_dataloader: a loader, or a list of batches, see `Trainer`.
        val_dataloader: batches to validate on after each epoch; ``None`` goes without.
        optimizer: an optimizer over the model; `AdamW` at a rate of 1e-4 by default.
        checkpoint_dir: the run folder, with a checkpoint of each epoch; ``None`` writes no file.
        options: of the `Trainer`: ``scheduler``, ``callbacks``, ``progress`` and so on.

    Attributes:
        trainer: the `Trainer` underneath.
        checkpoint_mgr: its checkpoints as a `CheckpointManager`; ``None`` without a folder.
        history: lists with one value an epoch: ``train_loss``, ``learning_rate``, ``val_loss``, ``val_recall_top1``
            and the other results of `Retrieval`, ``val_alignment_gap`` and those of `Alignment`. They are those of the
            whole validation data.
    """

    def __init__(
        self,
        model: Any,
        train_dataloader: Any,
        val_dataloader: Iterable[Any] | None = None,
        optimizer: Any = None,
        checkpoint_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        self._by_epoch = EpochHistory()
        progress = EpochProgress()
        callbacks = [self._by_epoch, progress, Checkpointing(), KeepAlignment(), *options.pop("callbacks", ())]
        self.trainer = trainer_by_epochs(
            1,
            save_every=0,
            model=model,
            train_data=train_dataloader,
            val_data=val_dataloader,
            optimizer=optimizer,
            run_dir=checkpoint_dir,
            metrics=pair_measures(),
            callbacks=callbacks,
            **options,
        )
        self.checkpoint_mgr: TrainerCheckpoints | None = None
        if self.trainer.checkpoints is not None:
            self.checkpoint_mgr = TrainerCheckpoints(
                self.trainer.checkpoints, self.trainer.capture, self.trainer.load_checkpoint
            )
            progress.manager = self.checkpoint_mgr

    @property
    def metrics(self) -> MetricsCollector:
        """Everything measured so far."""
        return self.trainer.history

    @property
    def history(self) -> dict[str, list[float]]:
        """Lists with one value an epoch."""
        return self._by_epoch.history

    def train(self, num_epochs: int) -> dict[str, list[float]]:
        """Train until ``num_epochs`` epochs are done in all, and return the history.

        An interrupted training in the same folder is taken up.
        """
        trainer = self.trainer
        trainer.total_steps = TrainingConfig(epochs=num_epochs).total_steps(trainer.setup.data.steps_per_epoch)
        if not trainer.state.step and trainer.checkpoints is not None and trainer.checkpoints.checkpoints():
            trainer.resume()
        trainer.train()
        return self.history


class KeepAlignment(Callback):
    """Keeps the alignment of every evaluation under the names of `MetricsCollector.update_alignment_metrics`."""

    def __init__(self) -> None:
        self._run = RunContext()

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the history."""
        self._run = run

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Take the values over all of the validation data."""
        values = (metrics[f"val_alignment_{name}"] for name in ("diag_mean", "sim_mean", "gap", "snr"))
        self._run.history.update_alignment_metrics(view.step, *values)
