"""A thin trainer that counts in epochs.

It puts a `Trainer` together for each call of ``train`` and keeps the history; whoever needs more takes the `Trainer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..errors import ConfigError, DataError
from ..measures import perplexity
from ..measures.base import Measures
from ..optim import AdamW, Constant, Schedule
from ..training.callbacks import EarlyStopping
from ..training.callbacks.base import Callback
from ..training.config import TrainingConfig
from ..training.trainer import Trainer
from .epochs import EpochHistory

NEVER = 10**9  # steps


def trainer_by_epochs(epochs: int, max_grad_norm: float | None = 1.0, save_every: int = 1000, **parts: Any) -> Trainer:
    """A `Trainer` that logs and evaluates when its callbacks request it, at the ends of epochs.

    Args:
        epochs: passes over the training data.
        max_grad_norm: longer gradients are scaled down to this length.
        save_every: updates between two checkpoints; 0 saves at the end only, and when a callback requests it.
        parts: the other arguments of the `Trainer`.
    """
    config = TrainingConfig(
        epochs=epochs, max_grad_norm=max_grad_norm, validation_frequency=0, save_every=save_every, log_every=NEVER
    )
    return Trainer(config=config, **parts)


class EpochTrainer:
    """The base of the thin trainers.

    Args:
        model: the model.
        train_dataloader: a loader, or a list of batches, see `Trainer`.
        val_dataloader: batches to validate on after each epoch; ``None`` goes without.
        learning_rate: the highest rate of the schedule.
        warmup_steps: updates over which the rate rises to it.
        max_grad_norm: longer gradients are scaled down to this length.
        early_stopping_patience: stop when the validation loss was no better for so many epochs in a row.
        loss_fn: for a model without a loss of its own.
        metrics: further metrics of the validation data, by name.
        tokenizer: for text.
        device: the model's device.
        progress: whether to show progress.

    Attributes:
        history: lists with one value an epoch: ``train_loss``, ``val_loss``, ``learning_rate``, each metric as
            ``val_<name>``. Where the loss is a cross-entropy, ``val_perplexity`` and ``train_perplexity`` are its
            exponentials; with label smoothing there is no ``train_perplexity``, for the loss of training is not plain.
        trainer: the `Trainer` of the last call of ``train``.
    """

    assumes_likelihood: ClassVar[bool] = False
    """Whether a loss that does not say what it is is taken for a cross-entropy in nats."""

    def __init__(
        self,
        model: Any,
        train_dataloader: Any,
        val_dataloader: Iterable[Any] | None = None,
        *,
        learning_rate: float,
        warmup_steps: int = 0,
        max_grad_norm: float | None = 1.0,
        early_stopping_patience: int | None = None,
        loss_fn: Any = None,
        metrics: Mapping[str, Measures] | None = None,
        tokenizer: Any = None,
        device: str = "cpu",
        progress: bool = True,
    ) -> None:
        if early_stopping_patience is not None and val_dataloader is None:
            raise ConfigError("early_stopping_patience needs a val_dataloader: the validation loss is what it looks at")
        self.tokenizer = getattr(train_dataloader, "tokenizer", None) if tokenizer is None else tokenizer
        self.model, self.device, self.progress = model, device, progress
        self.train_data, self.val_data = train_dataloader, val_dataloader
        self.loss_fn, self.metrics = loss_fn, metrics
        self.learning_rate, self.warmup_steps, self.max_grad_norm = learning_rate, warmup_steps, max_grad_norm
        self.early_stopping_patience = early_stopping_patience
        self.history: dict[str, list[float]] = {}
        self.trainer: Trainer | None = None

    def _likelihoods(self, objective: Any) -> list[str]:
        """The losses that have a perplexity, ``val`` and ``train``."""
        if not getattr(objective, "is_likelihood", self.assumes_likelihood):
            return []
        return ["val"] if getattr(objective, "smooths", False) else ["train", "val"]

    def schedule(self, total_steps: int) -> Schedule:
        """The learning rate over ``total_steps`` updates: constant after the warm-up."""
        return Constant(self.learning_rate, self.warmup_steps)

    def make_trainer(self, epochs: int, *callbacks: Callback, run_dir: str | Path | None = None) -> Trainer:
        """The `Trainer` that does all the work: it prepares the data, trains, evaluates and saves.

        Args:
            epochs: passes over the training data.
            callbacks: called at each event; early stopping comes after them.
            run_dir: the folder for checkpoints and metrics.
        """
        patience = self.early_stopping_patience
        trainer = trainer_by_epochs(
            epochs,
            self.max_grad_norm,
            model=self.model,
            train_data=self.train_data,
            val_data=self.val_data,
            optimizer=AdamW(self.model, lr=self.learning_rate),
            loss_fn=self.loss_fn,
            metrics=self.metrics,
            callbacks=callbacks if patience is None else [*callbacks, EarlyStopping(patience=patience)],
            run_dir=run_dir,
            tokenizer=self.tokenizer,
            device=self.device,
            progress=self.progress,
        )
        trainer.setup.schedule = self.schedule(trainer.total_steps)
        return trainer

    def train(self, epochs: int = 10, run_dir: str | Path | None = None) -> dict[str, list[float]]:
        """Train for so many epochs, and return the history.

        Args:
            epochs: passes over the training data.
            run_dir: the folder for checkpoints and metrics; an interrupted training in that folder is taken up.
        """
        epoch_history = EpochHistory()
        trainer = self.trainer = self.make_trainer(epochs, epoch_history, run_dir=run_dir)
        if trainer.checkpoints is not None and trainer.checkpoints.checkpoints():
            trainer.resume()
        trainer.train()
        self.history = dict(epoch_history.history)
        for name in self._likelihoods(trainer.setup.objective):
            if losses := self.history.get(f"{name}_loss"):
                self.history[f"{name}_perplexity"] = [perplexity(loss) for loss in losses]
        return self.history

    def plot_training_history(self, path: str | Path = "training_history.png") -> Path:
        """Draw losses and perplexities over the epochs; returns the PNG file.

        Raises:
            DataError: if nothing was trained yet.
        """
        from ..plotting.curves import plot_epochs

        curves = {name: values for name, values in self.history.items() if name.endswith(("_loss", "_perplexity"))}
        return plot_epochs(curves, path)

    def plot_learning_rate(self, path: str | Path = "learning_rate.png") -> Path:
        """Draw the learning rate of every update; returns the PNG file.

        Raises:
            DataError: if nothing was trained yet.
        """
        from ..optim import plot_schedule

        if self.trainer is None or not self.trainer.state.step:
            raise DataError("there is no learning rate yet: train for at least one epoch")
        plot_schedule(self.trainer.setup.schedule, self.trainer.state.step, path)
        return Path(path)
