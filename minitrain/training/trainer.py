"""The trainer: brings the parts together, and stops in good order whatever happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.format import Checkpoint
from ..checkpoint.manifest import Location
from ..checkpoint.store import CheckpointStore, Warn, is_url, split_location, warn_user
from ..compat.aliases import resolve_aliases
from ..errors import CheckpointError, ConfigError, NonFiniteError
from ..files import make_folder
from ..folder import RunFolder
from ..nn import checkpoint_activations
from ..optim import AdamW, Constant
from ..random import Key
from ..records.collector import MetricsCollector
from .callback import Callback, CallbackList
from .callbacks import GradientStatistics, JsonlLogger, ProgressTracker, RunInfo
from .config import TrainingConfig
from .evaluator import Evaluator
from .feed import as_batches, as_loader, batch_to, split_batch, stop_reading_ahead
from .loop import TrainingLoop
from .memory import shortage
from .nonfinite import first_bad_parameter
from .objective import Metric, objective_of
from .places import open_checkpoints, refuse_used_folder
from .result import TrainResult
from .saver import CheckpointSaver, newest_or_error
from .signals import StopSignals
from .snapshot import load_snapshot
from .state import Control, TrainerState, due
from .step import Gradient, Update, train_step


class Trainer:
    """Trains a model; with a run folder it keeps metrics and checkpoints there.

    A run that is interrupted and resumed ends with the same bytes as one that is not: weights, moments and metrics
    (but for `metrics.TIMING`). The batches and the dropout masks are functions of the step, and everything else is
    in the checkpoint.

    Args:
        model: a model with ``loss`` and ``loss_backward`` of its own, such as `GPT`, or any module with a ``forward``
            and a ``backward`` beside a ``loss_fn``.
        train_data: a loader or a data set of ``minitrain.data``, or a list of batches, or what can be iterated once an
            epoch.
        optimizer: an optimizer over the model; `AdamW` at ``config.learning_rate`` by default.
        loss_fn: loss of the model's outputs and the targets of a batch, see `ModelWithLoss`.
        scheduler: learning rate of update number ``step``, counted from 0: a function or a schedule; a constant rate
            by default.
        val_data: batches to validate on, iterated anew each time, or a data set; ``None`` goes without.
        config: how long, in which batches, what how often.
        callbacks: what else is to happen, in this order; then come the screen, ``metrics.jsonl`` and ``run.json``,
            unless a `ProgressTracker`, a `JsonlLogger` or a `RunInfo` is among them.
        run_dir: the run folder; made if it is not there. ``None`` writes no file, and a URL such as
            ``s3://bucket/run`` gets the checkpoints and nothing else.
        metrics: what else to measure on the validation data, by name; see `Evaluator`.
        progress: whether to show progress on the screen.
        key: random key of the dropout masks.
        tokenizer: for ``generate_text``.
        hyperparameters: settings that loggers note with the run and checkpoints keep, nested dictionaries of plain
            values; by default what the trainer knows of itself, the optimizer and the model.
        device: where the model is, ``"cpu"`` or ``"cuda"``.
        warn: called with a sentence when something is not as it should be but training can go on.
        aliases: other names of these arguments: ``train_dataloader`` or ``dataset`` for ``train_data``,
            ``val_dataloader`` for ``val_data``, ``checkpoint_dir`` for ``run_dir``, ``schedule`` for ``scheduler``;
            ``use_amp`` for the setting ``use_mixed_precision``.

    Attributes:
        state: the `TrainerState`.
        control: what callbacks ask for.
        history: a `MetricsCollector` with everything logged.
        checkpoints: the `CheckpointStore` of the run; ``None`` without a run folder.
        saver: writes checkpoints into it, at once or in the background.
        scaler: a loss scaler with a state of its own, saved with every checkpoint; ``None`` trains without.

    Raises:
        ConfigError: if arguments are missing, unknown, or at odds.
        FileError: if the run folder cannot be made.
    """

    def __init__(
        self,
        *,
        model: Any,
        train_data: Any = None,
        optimizer: Any = None,
        loss_fn: Any = None,
        scheduler: Callable[[int], float] | None = None,
        val_data: Iterable[Any] | None = None,
        config: TrainingConfig | None = None,
        callbacks: Sequence[Callback] = (),
        run_dir: str | Path | None = None,
        metrics: Mapping[str, Metric] | None = None,
        progress: bool = True,
        key: Key | None = None,
        tokenizer: Any = None,
        hyperparameters: Mapping[str, Any] | None = None,
        device: str = "cpu",
        warn: Warn = warn_user,
        **aliases: Any,
    ) -> None:
        named = {"train_data": train_data, "val_data": val_data, "run_dir": run_dir, "scheduler": scheduler}
        named = resolve_aliases(named | {"use_mixed_precision": None}, aliases)
        self.config = TrainingConfig() if config is None else config
        if not isinstance(self.config, TrainingConfig):
            raise ConfigError(f"config is a {type(config).__name__}: give a TrainingConfig(epochs=..., ...)")
        if named["use_mixed_precision"] is not None:
            self.config = replace(self.config, use_mixed_precision=named["use_mixed_precision"])
        self.model, self.tokenizer, self.device, self.warn = model, tokenizer, device, warn
        self.hyperparameters = hyperparameters
        self.objective = objective_of(model, loss_fn)
        self.train_data = as_loader(named["train_data"], self.config.batch_size)
        self.optimizer = AdamW(model, lr=self.config.learning_rate) if optimizer is None else optimizer
        _refuse_another_model(self.optimizer, model)
        self.schedule: Any = named["scheduler"] or Constant(self.optimizer.get_lr())
        self.evaluator = None
        if named["val_data"] is not None:
            val = as_batches(named["val_data"], self.config.batch_size)
            self.evaluator = Evaluator(self.objective, val, metrics=metrics, device=device)
        self.key = Key.from_seed(0).fold("dropout") if key is None else key
        self.state, self.control, self.history = TrainerState(), Control(), MetricsCollector()
        self.accumulation = self.config.gradient_accumulation_steps
        self.total_steps = self.config.total_steps(self.train_data.steps_per_epoch)
        self.scaler: Any = None
        folder = named["run_dir"] or self.config.checkpoint_dir
        self.run_dir = None if folder is None or is_url(folder) else make_folder(folder)
        self.folder = None if self.run_dir is None else RunFolder(self.run_dir)
        self._seen: tuple[Any, ...] | None = None  # what the folder held when it was read
        self.checkpoints = open_checkpoints(folder, self.config, warn)
        if self.config.keep_best_checkpoints and self.evaluator is None:
            raise ConfigError("keep_best_checkpoints needs val_data: the best are chosen by its figures")
        self.saver = CheckpointSaver(self)
        self.callbacks = CallbackList(self._with_standard(callbacks, progress))
        if self.config.activation_checkpointing:
            checkpoint_activations(model)
        if self.config.use_mixed_precision:
            _refuse_mixed_precision(device, warn)
        self.evaluation_weights: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
        """What validation happens under; a callback that averages weights puts its own here."""
        self.resumed = self._begun = False
        self._started = time.monotonic()
        if self.config.resume_from is not None:
            self.load_checkpoint(self.config.resume_from)

    def train(self) -> TrainResult:
        """Train until ``total_steps`` updates are done or a callback asks to stop, then validate on all of the data.

        Ctrl-C and SIGTERM let the step finish, save, and raise `Interrupted`; a second one stops at once.

        Returns:
            What came out, ready to be printed.

        Raises:
            Interrupted: if a signal asked to stop; its message says how to go on.
            NonFiniteError: if a loss or a gradient is NaN or infinite; no checkpoint is made of that.
            CheckpointError: if the run folder holds another run (see `resume`).
            FileError: if the disk refuses.
            MemoryShortage: if memory runs out; says which setting to change.
            FolderInUse: if another trainer writes into the run folder; it was not touched then.
        """
        with self._writing():
            return self._train()

    def _train(self) -> TrainResult:
        fire = self.callbacks.fire
        if not (self.resumed or self._begun):
            refuse_used_folder(self.run_dir, self.checkpoints)
        self._begun = True
        self._started = time.monotonic()
        self.control.stop = self.state.stopped
        try:
            with StopSignals() as signals:
                fire("on_train_begin", self)
                self.saver.warn_if_tight()
                loop = TrainingLoop(self, signals)
                while not self.is_over():
                    fire("on_epoch_begin", self)
                    loop.run(self._end_of_epoch())
                self.state.stopped = self.control.stop
                self.saver.finish_last()
                signals.at_once = True  # all is saved: whatever happens now can be done again
                if self.evaluator is not None:
                    self.validate()
                fire("on_train_end", self)
                return TrainResult.of(self)
        except MemoryError as error:
            fire("on_exception", self, error)
            raise shortage(error, self) from error
        except BaseException as error:
            self.saver.finish_after(error)
            fire("on_exception", self, error)
            raise
        finally:
            stop_reading_ahead(self.train_data)
            self.callbacks.close()

    def train_step(self, inputs: Any, targets: Any = None) -> Update:
        """One update on a batch of your own, for a loop of your own: ``train_step(x, y)`` or ``train_step(batch)``."""
        batch = inputs if targets is None else (inputs, targets)
        step = self.state.step
        parts = split_batch(batch, self.accumulation)
        update = self.update(parts, lr=self.schedule(step), key=self.key.fold(step))
        self.state.step += 1
        self.state.tokens += update.tokens
        return update

    def update(self, parts: Iterable[tuple[int, Any]], *, lr: float, key: Key) -> Update:
        """Forward, backward and update on the parts of a batch, with the hooks on the way."""
        fire, control = self.callbacks.fire, self.control

        def go_on(gradient: Gradient) -> bool:
            fire("on_before_optimizer_step", self, gradient)
            return not (control.skip or control.rollback)

        return train_step(
            self.model,
            self.optimizer,
            [(first, batch_to(part, self.device)) for first, part in parts],
            lr=lr,
            key=key,
            max_grad_norm=self.config.max_grad_norm,
            objective=self.objective,
            on_substep=lambda loss: fire("on_substep_end", self, loss),
            go_on=go_on,
        )

    def validate(self, max_batches: int | None = None) -> dict[str, Any]:
        """Measure on the validation data, or on ``max_batches`` batches of it, keep the figures, remember the best.

        Returns:
            ``val_loss``, ``val_tokens``, and each metric as ``val_<name>``.

        Raises:
            ConfigError: if there is no validation data.
            NonFiniteError: if the loss is NaN or infinite.
        """
        if self.evaluator is None:
            raise ConfigError("the trainer has no val_data to validate on")
        state = self.state
        with self.evaluation_weights():
            measured = self.evaluator.run(max_batches)
            mean = measured["val_loss"]
            if not np.isfinite(mean):
                reason = first_bad_parameter(self.model) or "the parameters are finite, an activation overflows"
                raise self.stopped_by(NonFiniteError(f"the validation loss is {mean}: {reason}"), state.step)
        if state.best_val_loss is None or mean < state.best_val_loss:
            state.best_val_loss, state.best_step = mean, state.step
        self.history.update(measured, step=state.step)
        self.control.save |= self.saver.is_among_best(measured)
        record = {"step": state.step, **measured, "seconds": self.clock()}
        self.callbacks.fire("on_evaluate", self, record)
        return measured

    def save_checkpoint(self, path: Location | None = None) -> Location:
        """Save everything that training needs to go on exactly here.

        With ``async_checkpoints`` it is being written when this returns, unless a path is given; see `finish_saving`.

        Args:
            path: a folder for it; by default one named by the step, in the run folder.

        Returns:
            Where it is.

        Raises:
            ConfigError: if there is neither a path nor a run folder.
            NonFiniteError: if a parameter is not finite: it would push an intact checkpoint out.
            FileError: if the disk refuses; older checkpoints are untouched.
        """
        if bad := first_bad_parameter(self.model):
            raise self.stopped_by(NonFiniteError(f"not saved, {bad}"), self.state.step)
        self.clock()
        with self._writing() if path is None else contextlib.nullcontext():
            return self.saver.save(path)

    def watch_folder(self) -> None:
        """Remember what the run folder holds; if somebody else changes that before training begins, it is refused."""
        self._seen = None if self.folder is None else self.folder.mark()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the one writer of the run folder, if there is one."""
        if self.folder is None or self.folder.is_writing:
            yield
            return
        with self.folder.writing():
            if self._seen is not None:
                self.folder.require_unchanged(self._seen)
            self._seen = None
            yield

    def finish_saving(self) -> None:
        """Wait for a checkpoint that is being written in the background; the end of training does so too.

        Raises:
            FileError: if the disk refused.
        """
        self.saver.finish()

    def load_checkpoint(self, path: Location) -> None:
        """Take up the checkpoint at ``path``: model, optimizer, state, metrics and callbacks.

        Raises:
            CheckpointError: if it is damaged or belongs to another model; nothing is loaded then.
        """
        self.finish_saving()
        parent, name = split_location(path)
        self._take_up(CheckpointStore(parent).load(name))

    def _take_up(self, checkpoint: Checkpoint) -> None:
        load_snapshot(self, checkpoint)
        self.resumed = True
        self.callbacks.fire("on_load", self)

    def resume(self) -> int:
        """Take up the newest intact checkpoint of the run folder; without any, the beginning.

        Returns:
            The number of updates done.

        Raises:
            CheckpointError: if there are checkpoints but none is intact, or it belongs to another model.
        """
        if self.checkpoints is None:
            raise ConfigError("the trainer has no run folder to resume from: give it a run_dir")
        self.finish_saving()
        self.watch_folder()
        newest = newest_or_error(self.checkpoints)
        if newest is not None:
            self._take_up(newest)
        self.resumed = True
        return self.state.step

    def roll_back(self) -> None:
        """Go back to the newest intact checkpoint, and on from there with the batches behind the present one.

        Raises:
            CheckpointError: if there is none.
        """
        bad, rollbacks = self.state.step + self.state.data_offset, self.state.rollbacks + 1
        newest = self.saver.load_latest()
        if newest is None:
            raise CheckpointError(f"step {self.state.step + 1}: there is no checkpoint to roll back to")
        self._take_up(newest)
        self.state.rollbacks = rollbacks
        self.state.data_offset = bad + 1 - self.state.step
        self.warn(f"rolled back to {newest.path}; going on behind the batch of step {bad + 1}")

    def backward(self, dlogits: Any, cache: Any) -> Any:
        """The model's backward, for a loop of your own: gradients of all parameters from that of the logits."""
        return self.model.backward(dlogits, cache)

    def generate_text(self, prompt: str, max_new_tokens: int = 100, temperature: float = 1.0) -> str:
        """Let the model continue a text.

        Raises:
            ConfigError: if the trainer has no tokenizer.
        """
        from ..generation import continue_text

        if self.tokenizer is None:
            raise ConfigError("generate_text needs a tokenizer: give the trainer one")
        rng = self.key.fold("generate", self.state.step)
        model, length = self.model, max_new_tokens
        return continue_text(
            model, self.tokenizer, prompt, length, temperature=temperature, rng=rng, device=self.device
        )

    def will_log(self) -> bool:
        """Whether a record will be kept after the present step, as far as the configuration knows."""
        step = self.state.step + 1
        return step == 1 or step == self.total_steps or due(step, self.config.log_every)

    def is_over(self) -> bool:
        """Whether all updates are done, or somebody asked to stop."""
        return self.state.step >= self.total_steps or bool(self.control.stop)

    def clock(self) -> float:
        """Seconds of this run, of all its sessions, up to now."""
        now = time.monotonic()
        self.state.seconds += now - self._started
        self._started = now
        return self.state.seconds

    def stopped_by(self, error: NonFiniteError, step: int) -> NonFiniteError:
        """The error that ends training: with the step, what is left, and what to try."""
        self.saver.finish_after(error)
        kept = self.checkpoints.checkpoints() if self.checkpoints is not None else []
        last = f"the last checkpoint, {kept[-1]}, is intact" if kept else "there is no checkpoint yet"
        return NonFiniteError(
            f"step {step}: {error}; {last}. Try a lower optimizer.learning_rate, more scheduler.warmup_steps, or a "
            "smaller trainer.max_grad_norm"
        )

    def _with_standard(self, given: Sequence[Callback], progress: bool) -> list[Callback]:
        """Those given, and what every training has: a sight of its progress, and its records in the run folder."""
        first: list[type[Callback]] = [GradientStatistics] * self.config.log_gradients  # for the loggers after it
        last: list[type[Callback]] = [ProgressTracker] * progress
        last += [JsonlLogger, RunInfo] * (self.run_dir is not None)

        def missing(kinds: list[type[Callback]]) -> list[Callback]:
            return [kind() for kind in kinds if not any(isinstance(one, kind) for one in given)]

        return [*missing(first), *given, *missing(last)]

    def _end_of_epoch(self) -> int:
        length = self.train_data.steps_per_epoch or self.total_steps
        return min(self.total_steps, (self.state.step // length + 1) * length)


def _refuse_another_model(optimizer: Any, model: Any) -> None:
    """Raise a ``ConfigError`` if no parameter of the model is among those that the optimizer updates."""
    updated = getattr(optimizer, "model", model)
    if updated is not model and not {*map(id, updated.parameters())} & {*map(id, model.parameters())}:
        raise ConfigError(
            "the optimizer was made for another model and would not train this one; make it with this model"
        )


def _refuse_mixed_precision(device: str, warn: Warn) -> None:
    if device != "cpu":
        raise ConfigError("use_mixed_precision: 16-bit computing on a GPU is not there yet; set it to false")
    warn("use_mixed_precision has no effect on a CPU, which computes in float32")
