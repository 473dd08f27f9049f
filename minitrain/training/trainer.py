"""The trainer: steps, logging, evaluation, checkpoints, and stopping in good order."""

from __future__ import annotations

import platform
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..backend.arrays import to_device
from ..data import Batch, Tokenizer, TokenLoader
from ..errors import CheckpointError, NonFiniteError
from ..files import make_folder
from ..ops.loss import Loss
from ..random import Key
from .checkpoint_manager import CheckpointManager, Warn, warn_user
from .config import TrainerConfig
from .evaluation import evaluate
from .loop import Update, train_step
from .metrics import METRICS, MetricsWriter
from .nonfinite import first_bad_parameter
from .progress import Progress, compilation_shown, make_progress
from .report import TrainResult, finish
from .signals import Interrupted, StopSignals

CHECKPOINTS = "checkpoints"


@dataclass
class TrainerState:
    """What changes while training, besides the model and the optimizer; saved with every checkpoint.

    Attributes:
        step: number of updates done.
        tokens: number of tokens trained on.
        seconds: time spent, over all sessions of the run.
        best_val_loss: lowest validation loss so far, in nats per token.
        best_step: where it was.
        window_loss: summed loss since the last log record.
        window_tokens: tokens since the last log record.
        window_seconds: time of the training steps since the last log record.
    """

    step: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    best_val_loss: float | None = None
    best_step: int | None = None
    window_loss: float = 0.0
    window_tokens: float = 0.0
    window_seconds: float = 0.0


class Trainer:
    """Trains a model and keeps a run folder: metrics, checkpoints, plots and a sample.

    A run that is interrupted and resumed ends with the same bytes as one that is not: weights, moments and metrics
    (but for `metrics.TIMING`). The batches and the dropout masks are functions of the step, and everything else is
    in the checkpoint.

    Args:
        model: a `GPT`, or anything with its ``loss``, ``loss_backward``, ``named_parameters`` and ``state_dict``.
        optimizer: an `AdamW`, or anything with its methods.
        schedule: learning rate of update number ``step``, from 0.
        train_loader: the batches.
        val_tokens: ``(M,)`` token ids of the held-out text.
        config: how long, in which batches, what how often.
        run_dir: the run folder; made if it is not there.
        key: random key of the dropout masks.
        tokenizer: for the sample and for bits per character; ``None`` goes without.
        device: where the model is, ``"cpu"`` or ``"cuda"``.
        warn: called with a sentence when something is not as it should be but training can go on.

    Attributes:
        state: the `TrainerState`.
        checkpoints: the `CheckpointManager` of the run.

    Raises:
        FileError: if the run folder cannot be made.
    """

    def __init__(
        self,
        *,
        model: Any,
        optimizer: Any,
        schedule: Callable[[int], float],
        train_loader: TokenLoader,
        val_tokens: NDArray[Any],
        config: TrainerConfig,
        run_dir: str | Path,
        key: Key | None = None,
        tokenizer: Tokenizer | None = None,
        device: str = "cpu",
        warn: Warn = warn_user,
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.train_loader, self.val_tokens, self.config = train_loader, val_tokens, config
        self.run_dir, self.tokenizer, self.device, self.warn = Path(run_dir), tokenizer, device, warn
        self.key = Key.from_seed(0).fold("dropout") if key is None else key
        self.state = TrainerState()
        self.checkpoints = CheckpointManager(self.run_dir / CHECKPOINTS, keep=config.keep_checkpoints, warn=warn)
        make_folder(self.run_dir)
        self._begun = False
        self._metrics_offset: int | None = None  # where the records go on after a resume
        self._started = time.monotonic()

    def train(self) -> TrainResult:
        """Train until ``config.max_steps`` updates are done, then evaluate, draw and write a sample.

        Ctrl-C and SIGTERM let the step finish, save, and raise `Interrupted`; a second one stops at once.

        Returns:
            What came out, ready to be printed.

        Raises:
            Interrupted: if a signal asked to stop; its message says how to go on.
            NonFiniteError: if a loss or a gradient is NaN or infinite; no checkpoint is made of that.
            CheckpointError: if the run folder holds another run (see `resume`).
            FileError: if the disk refuses.
        """
        config, state = self.config, self.state
        with self._open_metrics() as metrics, StopSignals() as stop:
            with make_progress(state.step, config.max_steps) as progress, compilation_shown(progress):
                while state.step < config.max_steps:
                    update = self.train_step(state.step)
                    progress.advance(state.step)
                    last = state.step == config.max_steps
                    if state.step == 1 or last or self._due(config.log_every):
                        progress.log(self._log(metrics, update))
                    if self._due(config.eval_every) and not last:  # the last step's evaluation is the final one
                        self._validate(metrics, progress)
                    if last or stop.received or self._due(config.save_every):
                        self._save(metrics)
                    if stop.received:
                        raise self._interrupted(stop.received)
            stop.at_once = True  # all is saved: whatever happens now can be done again
            return finish(self, metrics)

    def train_step(self, step: int) -> Update:
        """Do update number ``step``, counted from 0, with the batch, rate and dropout masks of that step.

        Raises:
            NonFiniteError: if the loss or the gradient is NaN or infinite; the weights are not touched.
        """
        started = time.perf_counter()
        parts = self.train_loader.micro_batches(step, self.config.accumulation_steps)
        try:
            update = train_step(
                self.model,
                self.optimizer,
                [(first, Batch(*(to_device(array, self.device) for array in part))) for first, part in parts],
                lr=self.schedule(step),
                key=self.key.fold(step),
                max_grad_norm=self.config.max_grad_norm,
            )
        except NonFiniteError as error:
            raise self._stopped_by(error, step + 1) from error
        state = self.state
        state.step = step + 1
        state.tokens += update.tokens
        state.window_loss += update.loss
        state.window_tokens += update.tokens
        state.window_seconds += time.perf_counter() - started
        return update

    def evaluate(self, max_batches: int | None = None) -> Loss:
        """Loss on the validation split: on all of it, or on ``max_batches`` batches spread over it."""
        block_size = self.train_loader.block_size
        batch_size = -(-self.config.batch_size // self.config.accumulation_steps)  # what fits the memory
        return evaluate(
            self.model, self.val_tokens, block_size, batch_size, max_batches=max_batches, device=self.device
        )

    def resume(self) -> int:
        """Take up the newest intact checkpoint of the run folder; without any, the beginning.

        Returns:
            The number of updates done.

        Raises:
            CheckpointError: if there are checkpoints but none is intact, or it belongs to another model.
        """
        path = self.checkpoints.latest()
        if path is None and (damaged := self.checkpoints.checkpoints()):
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints in {self.checkpoints.directory} is intact; "
                "train anew with another run_dir"
            )
        self._metrics_offset = 0
        if path is not None:
            checkpoint = self.checkpoints.load(path)
            checkpoint.check_fits(self.model.state_dict())
            try:
                known = {field.name for field in fields(TrainerState)}
                state = TrainerState(**{k: v for k, v in checkpoint.state["trainer"].items() if k in known})
                self._metrics_offset = int(checkpoint.state["metrics_offset"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CheckpointError(f"{path} was not saved by a trainer: {error!r}") from error
            self.model.load_state_dict(checkpoint.model)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.state = state
        return self.state.step

    def record_validation(self, metrics: MetricsWriter, loss: Loss) -> float:
        """Log the validation loss and remember the best; return its mean, in nats per token.

        Raises:
            NonFiniteError: if it is NaN or infinite.
        """
        state, mean = self.state, loss.mean
        if not np.isfinite(mean):
            reason = first_bad_parameter(self.model) or "the parameters are finite, an activation overflows"
            raise self._stopped_by(NonFiniteError(f"the validation loss is {mean}: {reason}"), state.step)
        if state.best_val_loss is None or mean < state.best_val_loss:
            state.best_val_loss, state.best_step = mean, state.step
        record = {"val_loss": mean, "val_tokens": int(loss.count), "seconds": self._clock()}
        metrics.write({"step": state.step, **record})
        return mean

    def _validate(self, metrics: MetricsWriter, progress: Progress) -> None:
        mean = self.record_validation(metrics, self.evaluate(self.config.eval_batches))
        best = " (best so far)" if self.state.best_step == self.state.step else ""
        progress.say(f"step {self.state.step}: validation loss {mean:.4f}{best}")

    def _log(self, metrics: MetricsWriter, update: Update) -> dict[str, Any]:
        """Write the record of all steps since the last one."""
        state = self.state
        record = {
            "step": state.step,
            "loss": state.window_loss / state.window_tokens,
            "lr": update.lr,
            "grad_norm": update.grad_norm,
            "tokens_per_second": state.window_tokens / state.window_seconds,
            "seconds": self._clock(),
        }
        metrics.write(record)
        state.window_loss = state.window_tokens = state.window_seconds = 0.0
        return record

    def _save(self, metrics: MetricsWriter) -> None:
        state = self.state
        if bad := first_bad_parameter(self.model):  # it would push an intact checkpoint out
            raise self._stopped_by(NonFiniteError(f"not saved, {bad}"), state.step)
        self._clock()
        rest = {"trainer": asdict(state), "metrics_offset": metrics.sync(), "versions": _versions()}
        self.checkpoints.save(state.step, self.model.state_dict(), self.optimizer.state_dict(), rest)

    def _open_metrics(self) -> MetricsWriter:
        """Open the metrics file where this run goes on, refusing a folder that holds another run."""
        if self._metrics_offset is None and not self._begun:
            refuse_used_folder(self.run_dir)
        self._started = time.monotonic()
        metrics = MetricsWriter(self.run_dir / METRICS)
        if self._metrics_offset is not None and not metrics.truncate(self._metrics_offset):
            self.warn(f"{metrics.path} lacks records from before step {self.state.step}; training goes on")
        self._begun, self._metrics_offset = True, None
        return metrics

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

    def _clock(self) -> float:
        """Seconds of this run, of all its sessions, up to now."""
        now = time.monotonic()
        self.state.seconds += now - self._started
        self._started = now
        return self.state.seconds

    def _interrupted(self, number: int) -> Interrupted:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        return Interrupted(
            f"stopped by {name} after step {self.state.step} of {self.config.max_steps}, everything is saved; "
            f"go on with: minitrain train --resume {shlex.quote(str(self.run_dir))}",
            number,
        )

    def _stopped_by(self, error: NonFiniteError, step: int) -> NonFiniteError:
        kept = self.checkpoints.checkpoints()
        last = f"the last checkpoint, {kept[-1]}, is intact" if kept else "there is no checkpoint yet"
        return NonFiniteError(
            f"step {step}: {error}; {last}. Try a lower optimizer.learning_rate, more scheduler.warmup_steps, or a "
            "smaller trainer.max_grad_norm"
        )


def refuse_used_folder(run_dir: str | Path) -> None:
    """Make sure that a new run in ``run_dir`` would overwrite nothing.

    Raises:
        CheckpointError: if there are checkpoints or metrics in it; the message says how to go on.
    """
    run_dir = Path(run_dir)
    metrics = run_dir / METRICS
    if CheckpointManager(run_dir / CHECKPOINTS).checkpoints() or (metrics.exists() and metrics.stat().st_size):
        raise CheckpointError(
            f"{run_dir} already holds a run, and a new one would overwrite it: continue it with "
            f"--resume {shlex.quote(str(run_dir))}, or choose another folder with run_dir=..."
        )


def _versions() -> dict[str, str]:
    """What a checkpoint was made with, for whoever wonders later."""
    return {"minitrain": __version__, "numpy": np.__version__, "python": platform.python_version()}
