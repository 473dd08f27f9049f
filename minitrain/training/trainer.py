"""The trainer: brings the parts of a training together, and stops in good order whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from ..checkpoint.store import Warn, is_url, warn_user
from ..distributed.group import Group
from ..distributed.nccl import on_device
from ..errors import CheckpointError, ConfigError, NonFiniteError
from ..files import make_folder
from ..folder import RunFolder
from ..measures.base import Measures
from ..nn import checkpoint_activations
from ..optim import AdamW, Constant
from ..random import Key
from ..records.collector import MetricsCollector
from ..records.facts import settings_of
from .between import BetweenSteps
from .by_hand import ByHand
from .callbacks import GradientStatistics, JsonlLogger, PrivacyBudget, ProgressTracker, RunInfo
from .callbacks.base import Callback, CallbackList, missing
from .config import TrainingConfig
from .evaluator import Evaluator
from .feed import as_batches, as_loader, stop_reading_ahead
from .loop import TrainingLoop
from .loss_scale import Arithmetic
from .memory import shortage
from .nonfinite import with_advice
from .objective import counted_by, objective_of
from .parallel.together import together_as
from .preconditions import (
    check_precision_fits,
    check_privacy_fits,
    check_ranks_fit,
    checked_config,
    open_checkpoints,
    refuse_another_model,
    refuse_single_callback,
    refuse_used_folder,
    resolve_aliases,
)
from .privacy import DPSGD
from .result import TrainResult
from .saving.capture import Capture
from .saving.restorer import Restorer
from .saving.saver import CheckpointSaver
from .setup import RunContext, Setup, StepView
from .signals import StopSignals
from .state import Control, TrainerState


class Trainer(ByHand):
    """Trains a model; with a run folder it keeps metrics and checkpoints there.

    A run that is interrupted and resumed ends with the same bytes as one that is not: weights, moments and metrics
    (except `records.jsonl.TIMING`). Batches and dropout masks are functions of the step, and everything else is in
    the checkpoint.

    Args:
        model: a model with ``loss`` and ``loss_backward`` of its own, such as `GPT`, or any module with ``forward``
            and ``backward`` together with a ``loss_fn``.
        train_data: a loader or a data set of ``minitrain.data``, a pair of arrays ``(inputs, targets)``, a list of
            batches, or an object that can be iterated once an epoch.
        optimizer: an optimizer over the model; `AdamW` at ``config.learning_rate`` by default.
        loss_fn: loss of the model's outputs and the targets of a batch, see `ModelWithLoss`.
        scheduler: learning rate of update number ``step``, counted from 0: a function or a schedule; a constant rate
            by default.
        val_data: batches to validate on, iterated anew each time, or a data set; ``None`` goes without.
        config: how long to train, in which batches, and what happens how often.
        callbacks: called at each event, in this order. Progress on the screen, ``metrics.jsonl`` and ``run.json`` come
            after them, unless a `ProgressTracker`, a `JsonlLogger` or a `RunInfo` is among them.
        run_dir: the run folder; it is made if it does not exist. ``None`` writes no file, and a URL such as
            ``s3://bucket/run`` gets the checkpoints and nothing else.
        metrics: further metrics of the validation data, by name; see `Evaluator`.
        progress: whether to show progress on the screen.
        key: random key of the dropout masks.
        tokenizer: for ``generate_text``; by default that of the training data, if it has one.
        hyperparameters: settings that loggers note and checkpoints keep, nested dictionaries of plain values; by
            default what the trainer knows of itself, the optimizer and the model.
        device: the model's device, ``"cpu"`` or ``"cuda"``.
        privacy: makes the training differentially private, see `DPSGD`; ``train_data`` is then a data set or arrays.
        group: the ranks that train together, see `minitrain.distributed`; each has a trainer with the same arguments.
            ``config.gradient_accumulation_steps`` is then the number of micro-batches of all ranks.
        warn: called with a sentence when something is wrong but training can go on.
        aliases: other names of these arguments, see `minitrain.training.preconditions.ALIASES`.

    Attributes:
        setup: model, optimizer, schedule, data: what a step needs.
        run: history, evaluator, folder: where the run happens and its results go.
        state: the `TrainerState`.
        control: the requests of callbacks.
        checkpoints: the `CheckpointStore` of the run; ``None`` without a run folder.
        saver: writes checkpoints into it, at once or in the background.
        restorer: goes back to one of them.
        loop: makes the updates.
        between: the work between two updates.
        folder: the run folder with its lock; ``None`` without one.

    Raises:
        ConfigError: if arguments are missing, unknown, or contradict each other.
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
        metrics: Mapping[str, Measures] | None = None,
        progress: bool = True,
        key: Key | None = None,
        tokenizer: Any = None,
        hyperparameters: Mapping[str, Any] | None = None,
        device: str = "cpu",
        privacy: DPSGD | None = None,
        group: Group | None = None,
        warn: Warn = warn_user,
        **aliases: Any,
    ) -> None:
        named = {"train_data": train_data, "val_data": val_data, "run_dir": run_dir, "scheduler": scheduler}
        known = signature(type(self)).parameters if aliases else ()
        named = resolve_aliases(named | {"use_mixed_precision": None}, aliases, known)
        self.config = config = checked_config(config, named["use_mixed_precision"])
        optimizer = AdamW(model, lr=config.learning_rate) if optimizer is None else optimizer
        refuse_another_model(optimizer, model)
        group = on_device(group, device)
        self.setup = Setup(
            model=model,
            optimizer=optimizer,
            objective=objective_of(model, loss_fn),
            schedule=named["scheduler"] or Constant(optimizer.get_lr()),
            data=(as_loader if privacy is None else privacy.load)(named["train_data"], config.batch_size),
            key=Key.from_seed(0).fold("dropout") if key is None else key,
            accumulation=config.gradient_accumulation_steps,
            max_grad_norm=config.max_grad_norm,
            device=device,
            arithmetic=Arithmetic.of(config.product_precision()),
        )
        check_precision_fits(self.setup, warn)
        folder = named["run_dir"] or config.checkpoint_dir
        self.run = RunContext(
            folder=None if folder is None or is_url(folder) else make_folder(folder),
            settings=settings_of(model, optimizer, config) if hyperparameters is None else dict(hyperparameters),
            tokenizer=getattr(named["train_data"], "tokenizer", None) if tokenizer is None else tokenizer,
            history=MetricsCollector(counted=counted_by(model)),
            privacy=privacy,
        )
        if named["val_data"] is not None:
            val = as_batches(named["val_data"], config.batch_size)
            self.run.evaluator = Evaluator(
                self.setup.objective,
                val,
                metrics=metrics,
                device=device,
                precision=self.setup.arithmetic.precision,
                group=group,
            )
        if config.keep_best_checkpoints and self.run.evaluator is None:
            raise ConfigError("keep_best_checkpoints needs val_data: the best are chosen by its metrics")
        self.state, self.control = TrainerState(), Control()
        steps = config.total_steps(self.setup.data.steps_per_epoch)
        self.view = StepView(self.state, self.control, steps, config.log_every, warn)
        refuse_single_callback(callbacks)
        check_privacy_fits(self.setup, privacy, callbacks)
        self._writes = group is None or group.is_main
        first: list[type[Callback]] = [GradientStatistics] * config.log_gradients  # for the loggers after them
        first += [PrivacyBudget] * (privacy is not None)
        last: list[type[Callback]] = [ProgressTracker] * progress + [JsonlLogger, RunInfo] * (
            self.run.folder is not None
        )
        every = [*missing(first, callbacks), *callbacks, *missing(last, callbacks)]
        check_ranks_fit(self.setup, config, privacy, group, every)
        self._together = together = None if group is None else together_as(config, group, every)
        self.callbacks = CallbackList(one for one in every if self._writes or one.on_every_rank)
        self.checkpoints = open_checkpoints(folder, config, warn)
        self.capture = Capture(self.setup, self.run, self.state, self.callbacks)
        self.saver = CheckpointSaver(
            self.checkpoints,
            self.capture.contents,
            in_background=config.async_checkpoints,
            on_saved=lambda place: self.callbacks.fire("on_save", self.view, place),
            warn=warn,
            group=group,
        )
        self.between = BetweenSteps(
            config, self.setup, self.run, self.state, self.view, self.callbacks, self.saver, together
        )
        self.restorer = Restorer(self.capture, self.saver, self._restored)
        self.loop = TrainingLoop(
            self.setup,
            self.state,
            self.view,
            self.callbacks,
            self.restorer.roll_back,
            privacy,
            together,
            graphs=config.graphs,
        )
        if config.activation_checkpointing:
            checkpoint_activations(model)
        self._begun = False
        self.folder = None if self.run.folder is None or not self._writes else RunFolder(self.run.folder)
        if config.resume_from:
            self.load_checkpoint(config.resume_from)

    def train(self) -> TrainResult:
        """Train until ``total_steps`` updates are done or a callback requests a stop, then validate on all the data.

        Ctrl-C, SIGTERM and SIGHUP let the step finish, save, and raise `Interrupted`; a second one stops at once.

        Returns:
            The result, ready to be printed.

        Raises:
            Interrupted: if a signal asked to stop; its message says how to go on.
            NonFiniteError: if a loss or a gradient is NaN or infinite; no checkpoint is made of that.
            CheckpointError: if the run folder holds another run (see `resume`), or if an exception ended an earlier
                call in the middle of a step.
            FileError: if a file cannot be written.
            MemoryShortage: if memory runs out; says which setting to change.
            FolderInUse: if another trainer writes into the run folder; it was not touched then.
        """
        with self.writing():
            return self._train()

    def _train(self) -> TrainResult:
        self._refuse_to_go_on()
        fire, state, view = self.callbacks.fire, self.state, self.view
        self._begun = True
        state.start_clock()
        self.control.stop = state.stopped
        try:
            if self._together is not None:
                self._together.begin(self.setup)
            with StopSignals() as signals:
                fire("on_train_begin", view, self.setup, self.run)
                self.between.begin()
                self.saver.warn_if_tight()
                while not view.is_over:
                    fire("on_epoch_begin", view)
                    for update in self.loop.steps(self._end_of_epoch()):
                        self.between.record(update)
                        self.loop.midway = False
                        self.between.keep(signals.received)
                state.stopped = self.control.stop
                self.saver.finish()
                if state.step and self.checkpoints is not None and not self.saver.has(state.step):
                    self.between.save()  # an earlier attempt may have met a full disk
                    self.saver.finish()
                signals.at_once = True  # all is saved: what comes now can be done again
                if self.run.evaluator is not None:
                    self.between.validate()
                fire("on_train_end", view)
                kept, found = self.saver.newest_kept(), self.callbacks.results()
                return TrainResult.of(state, self.setup.model, self.run, kept, found)
        except BaseException as error:
            self.saver.finish_after(error)
            if isinstance(error, NonFiniteError):
                error = with_advice(error, self.saver.newest_kept())
            fire("on_exception", view, error)
            if isinstance(error, MemoryError):
                raise shortage(error, state.step, self.setup) from error
            raise error
        finally:
            stop_reading_ahead(self.setup.data)
            self.callbacks.close()

    def resume(self) -> int:
        """Restore the newest intact checkpoint of the run folder; without any, start at the beginning.

        Returns:
            The number of updates done.

        Raises:
            CheckpointError: if there are checkpoints but none is intact, or it belongs to another model.
        """
        if self.checkpoints is None:
            raise ConfigError("the trainer has no run folder to resume from: give it a run_dir")
        self.watch_folder()
        if self.restorer.load_newest() is None and self._begun:
            raise CheckpointError("there is no checkpoint to go back to: make a new trainer and another run_dir")
        self.run.resumed = True
        return self.state.step

    @property
    def warn(self) -> Warn:
        """Called with a sentence when something is wrong but training can go on."""
        return self.view.warn

    @warn.setter
    def warn(self, warn: Warn) -> None:
        self.view.warn = self.saver.warn = warn

    @property
    def total_steps(self) -> int:
        """Number of updates in all; may be changed between two calls of ``train``."""
        return self.view.total_steps

    @total_steps.setter
    def total_steps(self, steps: int) -> None:
        self.view.total_steps = steps

    def watch_folder(self) -> None:
        """Remember what the run folder holds; if somebody else changes that before training begins, it is refused."""
        if self.folder is not None:
            self.folder.watch()

    def _end_of_epoch(self) -> int:
        length = self.setup.data.steps_per_epoch or self.total_steps
        return min(self.total_steps, (self.state.step // length + 1) * length)

    def _restored(self) -> None:
        self.loop.midway = False
        self.callbacks.fire("on_load", self.view)

    def _refuse_to_go_on(self) -> None:
        """Raise a ``CheckpointError`` where training would mix two runs, or go on from half a step."""
        if self.loop.midway:
            raise CheckpointError(
                f"an exception ended step {self.state.step + 1} halfway: its update or its records may be incomplete; "
                "go back to the last checkpoint with resume(), or make a new trainer"
            )
        if self._writes and not (self.run.resumed or self._begun):
            refuse_used_folder(self.run.folder, self.checkpoints, self.run.command)
