"""The parts of a trainer for a loop of your own: a step, a backward, a measurement, a text, a checkpoint."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..checkpoint.manifest import Location
from ..errors import ConfigError
from ..folder import RunFolder
from ..records.collector import MetricsCollector
from .between import BetweenSteps
from .config import TrainingConfig
from .evaluator import Evaluator
from .feed import as_batches, batch_to, split_batch
from .loop import TrainingLoop
from .saving.restorer import Restorer
from .saving.saver import CheckpointSaver
from .setup import RunContext, Setup
from .state import TrainerState


class ByHand:
    """The calls of a `Trainer` for a loop of your own.

    Attributes:
        config: how large a batch is.
        setup: model, optimizer, schedule, data.
        run: history, evaluator, tokenizer.
        state: the progress of the training; `train_step` counts in it.
        loop: makes the update of a step.
        between: keeps what is measured on the validation data; saves.
        saver: writes checkpoints, at once or in the background.
        restorer: brings the training back to a checkpoint.
        folder: the run folder, with its lock; ``None`` without one.
    """

    config: TrainingConfig
    setup: Setup
    run: RunContext
    state: TrainerState
    loop: TrainingLoop
    between: BetweenSteps
    saver: CheckpointSaver
    restorer: Restorer
    folder: RunFolder | None

    def train_step(self, inputs: Any, targets: Any = None) -> float:
        """One update on a batch: ``train_step(x, y)`` or ``train_step(batch)``.

        Of several ranks each gives the whole batch, the same one, and computes its own micro-batches of it.

        Returns:
            The mean loss of the batch before the update.

        Raises:
            ConfigError: if the training is private.
            DataError: if no target of the batch counts.
            NonFiniteError: if the loss or the gradient is not finite; no weight is touched.
        """
        if self.run.privacy is not None:
            raise ConfigError(
                "private training draws its batches itself, and nobody could say what this one spends: call train()"
            )
        batch = inputs if targets is None else (inputs, targets)
        parts = split_batch(batch, self.setup.accumulation)
        if self.loop.together is not None:
            parts = [parts[number] for number in self.loop.together.mine]
        update = self.loop.update([(first, batch_to(part, self.setup.device)) for first, part in parts])
        self.state.step += 1
        self.state.tokens += update.tokens
        self.loop.midway = False
        return float(update.loss / update.tokens)

    def backward(self, dlogits: Any, cache: Any) -> Any:
        """The model's backward: gradients of all parameters from the gradient of the logits.

        Args:
            dlogits: gradient of the loss with respect to the logits, in their shape.
            cache: the cache that the model's forward returned.

        Returns:
            What the model's backward returns.
        """
        return self.setup.model.backward(dlogits, cache)

    def validate(self, data: Any = None, *, max_batches: int | None = None, averaged: bool = True) -> dict[str, Any]:
        """Measure on the validation data, keep the metrics and remember the best; or measure something else.

        Args:
            data: batches or a data set to measure on instead; nothing is kept then.
            max_batches: measure on so many batches only.
            averaged: whether to take the averaged weights where a callback such as `EMA` keeps some for evaluations.
                ``False`` measures the weights as they are trained; nothing is kept then.

        Returns:
            ``val_loss``, ``val_tokens``, and each metric as ``val_<name>``.

        Raises:
            ConfigError: if there is no validation data.
            NonFiniteError: if the loss is NaN or infinite.
        """
        evaluator = self.run.evaluator
        if data is None and (averaged or evaluator is None):
            return self.between.validate(max_batches)
        if data is None:
            assert evaluator is not None
            return evaluator.run(max_batches)
        batches = as_batches(data, self.config.batch_size)
        metrics = None if evaluator is None else evaluator.metrics
        other = Evaluator(
            self.setup.objective,
            batches,
            metrics=metrics,
            device=self.setup.device,
            precision=self.setup.arithmetic.precision,
        )
        with self.run.weights.applied() if averaged else contextlib.nullcontext():
            return other.run(max_batches)

    def generate_text(
        self,
        prompt: str,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> str:
        """Let the model continue a text.

        Args:
            prompt: at least one character.
            max_new_tokens: how many tokens to write.
            temperature: below 1, the text is more predictable; above 1, more varied.
            top_k: choose among the so many most likely tokens; ``None`` among all.
            top_p: choose among the most likely tokens whose probabilities reach this sum; ``None`` among all.

        Returns:
            The new text, without the prompt.

        Raises:
            ConfigError: if there is no tokenizer, or a setting is out of range.
            DataError: if the tokenizer does not know a character of the prompt.
        """
        from ..generation import continue_text

        if self.run.tokenizer is None:
            raise ConfigError("generate_text needs a tokenizer: give the trainer one")
        return continue_text(
            self.setup.model,
            self.run.tokenizer,
            prompt,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            key=self.setup.key.fold("generate", self.state.step),
            device=self.setup.device,
        )

    def save_checkpoint(self, path: Location | None = None) -> Location:
        """Save everything that training needs to go on exactly here.

        With ``async_checkpoints`` it is being written when this returns, unless a path is given; see `finish_saving`.

        Args:
            path: a folder for it; by default one named by the step, in the run folder.

        Returns:
            Where it is.

        Raises:
            ConfigError: if there is neither a path nor a run folder.
            NonFiniteError: if a parameter is not finite: the checkpoint would push an intact one out.
            FileError: if a file cannot be written; older checkpoints are untouched.
        """
        with self.writing() if path is None else contextlib.nullcontext():
            return self.between.save(path)

    def finish_saving(self) -> None:
        """Wait for a checkpoint that is being written in the background; the end of training does so too.

        Raises:
            FileError: if the disk refused.
        """
        self.saver.finish()

    def load_checkpoint(self, path: Location) -> None:
        """Restore the checkpoint at ``path``: model, optimizer, state, metrics and callbacks.

        Raises:
            CheckpointError: if it is damaged or belongs to another model; nothing is changed then.
        """
        self.restorer.load(path)

    def writing(self) -> AbstractContextManager[None]:
        """Be the one writer of the run folder, if there is one, while the block lasts."""
        return contextlib.nullcontext() if self.folder is None else self.folder.writing()

    @property
    def model(self) -> Any:
        """The model."""
        return self.setup.model

    @property
    def optimizer(self) -> Any:
        """The optimizer."""
        return self.setup.optimizer

    @property
    def history(self) -> MetricsCollector:
        """Everything that was logged."""
        return self.run.history

    @property
    def run_dir(self) -> Path | None:
        """The run folder; ``None`` if nothing is written."""
        return self.run.folder
