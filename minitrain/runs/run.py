"""A run and its folder: started from settings, or continued.

::

    runs/pydoc-20250102-030405/
      config.yaml  tokenizer.json  data/train.bin  data/val.bin
      metrics.jsonl  checkpoints/step-…/  loss.png  learning_rate.png  sample.txt  summary.txt

The folder has all that the run needs, its tokens too, so a run continues with the text it began with. Only token shards
stay where they are, see `run_data`.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..checkpoint import Checkpoint
from ..checkpoint.store import Warn, warn_user
from ..distributed.group import Alone, Group
from ..errors import CheckpointError, ConfigError, MinitrainError
from ..folder import RunFolder, new_run_folder
from ..folder.commands import resume_command
from ..folder.names import CONFIG, SAMPLE, SUMMARY
from ..formats import one_line
from ..nn.core.packing import pack
from ..optim import ReduceOnPlateau, Scheduler, create_optimizer, create_scheduler
from ..random import Key
from ..reports.html import REPORT
from ..tasks import Prepared, Task
from ..tasks.settings.objective import create_metrics
from ..training.callbacks import PlateauWatch, create_callbacks
from ..training.preconditions import open_checkpoints, refuse_used_folder
from ..training.privacy import create_privacy
from ..training.trainer import Trainer
from .config import RunConfig
from .confine import confined_callbacks, needs_trust, refuse_remote_checkpoints
from .made_over_time import MadeOverTime
from .python_run import read_settings, resume_in_python
from .ranks import refuse_ranks_alone, settings_for, share_weights
from .report import RunResult, draw, write_report
from .weights.adapters import create_adapter
from .weights.initial import initial_processor, load_initial
from .weights.parametrization import parametrize

CHANGEABLE = (
    "distributed",
    "ranks",
    "max_failures",
    "trainer.max_steps",
    "trainer.epochs",
    "trainer.validation_frequency",
    "trainer.eval_batches",
    "trainer.save_every",
    "trainer.keep_checkpoints",
    "trainer.async_checkpoints",
    "trainer.zero",
    "trainer.overlap",
    "trainer.log_every",
    "trainer.sample_tokens",
    "device",
)
"""Settings that a run may change when it is continued: they change neither its model nor its batches."""


@dataclass(frozen=True)
class Run:
    """A run that is ready to train.

    Attributes:
        config: its settings.
        run_dir: its folder.
        task: what is trained.
        prepared: its processor, such as a tokenizer, and its data.
        trainer: its trainer; ``trainer.state.step`` updates are done.
        group: the ranks that train it together; ``None`` if it is trained by one process.
    """

    config: RunConfig
    run_dir: Path
    task: Task
    prepared: Prepared
    trainer: Trainer
    group: Group | None = None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of a language model; ``None`` for other models."""
        return self.task.tokenizer(self.prepared.processor)

    def __repr__(self) -> str:
        return f"<Run in {self.run_dir}: step {self.trainer.state.step} of {self.trainer.view.total_steps}>"

    def is_finished(self) -> bool:
        """Whether all steps are done and the report was written: there is nothing left to do."""
        over = self.trainer.view.is_over or bool(self.trainer.state.stopped)
        finished = over and (self.run_dir / REPORT).exists()
        return finished if self.group is None else bool(self.group.from_main(finished))

    def train(self) -> RunResult:
        """Train to the end (see `Trainer.train`), evaluate, draw the curves, let the model show what it can.

        What comes after the training can be done again from the last checkpoint.
        """
        training = self.trainer.train()
        history, task, prepared = training.history, self.task, self.prepared
        measured = {name: value for name in history.names() if (value := history.get_latest(name)) is not None}
        with self.trainer.run.weights.applied():
            model = self.trainer.model
            own_units = self.config.loss is None  # another loss has other units; guesses compare with the model's own
            validation = task.evaluate(self.config, model, prepared, measured if own_units else None)
            guesses = task.guesses(prepared)
            curves = draw(self.run_dir, guesses)
            pictures = task.pictures(self.config, model, prepared, self.run_dir)
            sample = task.sample(self.config, self.trainer.setup, prepared)
        if sample:
            RunFolder(self.run_dir).write(SAMPLE, sample.encode() + b"\n")
        validation = replace(validation, averaged_by=training.weights)
        summary = f"{training.describe()}\n\n{validation.describe()}"
        RunFolder(self.run_dir).write(SUMMARY, summary.encode() + b"\n")
        report = write_report(self.run_dir, curves, summary, sample, guesses if own_units else None, pictures)
        return RunResult(self.run_dir, training, validation, (*curves, *pictures), report, sample)

    def describe(self) -> str:
        """A line or two for the screen: which model is trained on which data."""
        return (
            f"{self.trainer.model.parameter_count():,} parameters, {self.task.describe(self.config, self.prepared)}\n"
            f"run folder: {one_line(str(self.run_dir))}"
        )


def start_run(config: RunConfig, *, warn: Warn = warn_user, group: Group | None = None) -> Run:
    """Prepare a new run: read the data, make the run folder, the model and its trainer.

    Everything is read and checked before anything is written.

    Args:
        config: the settings; with ``run_dir=None`` the folder is a new one under ``runs/``.
        warn: called with a sentence when something is not as it should be but training can go on.
        group: the ranks that train it together. Each calls this; rank 0 prepares the folder, which all must reach.

    Raises:
        ConfigError: if the ranks differ in versions or settings, or the run cannot fit into the memory that is free.
        DataError: if the data is missing, not text or token shards, or too short.
        CheckpointError: if the folder holds a run already, or ``init_from`` has no weights for this model.
        FolderInUse: if somebody else writes into it.
        FileError: if the folder cannot be written.
        DeviceError: if the device is not there.
    """
    if group is not None:
        config = settings_for(group, config)
        if not group.is_main:
            return _follow(group, warn)
    else:
        refuse_ranks_alone(config)
    # Whoever starts a run chose its settings, so they may name any place.
    folder = RunFolder(config.run_dir, trusted=True) if config.run_dir else None
    if folder is not None:
        _refuse_used(folder.path, config)
    task = config.the_task
    processor = None if config.init_from is None else initial_processor(config.init_from, task)
    prepared = task.prepare(config, processor)
    task.refuse_impossible(config, prepared.processor)
    weights = None
    if config.init_from is not None:
        weights = load_initial(config.init_from, warn, task.model_sizes(config, prepared.processor))
        weights.check_fits(task.model(config, prepared.processor).state_dict())
    folder = folder or new_folder(config)
    with folder.writing():
        _refuse_used(folder.path, config)
        config = replace(config, data=task.save(prepared, config, folder))
        config.save(folder.file(CONFIG))  # last: with it the folder counts as prepared
        if group is not None:
            group.from_main([str(folder.path), weights is not None])
        run = _assemble(config, folder, task.after_saving(prepared, config, folder), warn, weights, group)
        run.trainer.watch_folder()
    _begin_with(run, weights is not None)
    return run


def _follow(group: Group, warn: Warn) -> Run:
    """The run that rank 0 has prepared, on another rank."""
    place, has_weights = group.from_main()
    folder = RunFolder(place, trusted=True)  # whoever started it did so on all ranks
    config = _read_config(folder)
    run = _assemble(config, folder, config.the_task.load(config, folder), warn, None, group)
    _begin_with(run, has_weights)
    return run


def _begin_with(run: Run, has_weights: bool) -> None:
    """Where weights were taken over: give all ranks those of rank 0, and save them."""
    if not has_weights:
        return
    if run.group is not None:
        share_weights(run.group, run.trainer.model)
    # A run that is stopped early resumes from these weights, wherever they came from.
    run.trainer.save_checkpoint()  # takes the lock of the folder itself
    run.trainer.resume()
    run.trainer.watch_folder()


def resume_run(
    run_dir: str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    trusted: bool = False,
    warn: Warn = warn_user,
    group: Group | None = None,
) -> Run:
    """Continue the run in ``run_dir`` at its newest intact checkpoint.

    Without changes it ends with the same bytes as a run that was never interrupted. With a larger ``max_steps`` or
    ``epochs`` a finished run is trained longer; its schedule is then that of the whole new length.

    Args:
        run_dir: the run folder.
        changes: settings to change by their dotted names, one of ``CHANGEABLE``; the folder keeps them.
        trusted: whether its settings may name files outside of it, a URL for checkpoints, and services.
        warn: called with a sentence for each damaged checkpoint that is skipped.
        group: the ranks that go on together, as many as before or not.

    Raises:
        ConfigError: if a setting cannot be changed any more, or a change does not fit.
        CheckpointError: if the folder is no run, no checkpoint of it is intact, or they are of another model.
        DataError: if its tokens or its tokenizer are damaged.
        FolderInUse: if another trainer writes into it.
        FileError: if there are links or special files in it, or its settings lead out of it and it is not trusted.
    """
    folder = RunFolder(run_dir, trusted=trusted)
    config = _read_config(folder)
    writes = group is None or group.is_main
    if writes:
        folder.refuse_if_in_use()
    changed = config if not changes else _changed(config, changes)
    if group is None:
        refuse_ranks_alone(changed)
    else:
        changed = settings_for(group, changed)
    if (new := changed.device.partition(":")[0]) != config.device.partition(":")[0]:
        warn(f"the run goes on on {new}: from here on its bytes are not those that it would have on {config.device}")
    run = _assemble(changed, folder, changed.the_task.load(changed, folder), warn, None, group)
    step = run.trainer.resume()
    if step == 0 and config.init_from is not None and not _has_checkpoint(run):
        raise CheckpointError(f"the run in {run_dir} was stopped before it had its initial weights: start it again")
    if changes:
        if run.trainer.total_steps < step:
            raise ConfigError(f"trainer.max_steps ({run.trainer.total_steps}) is below the {step} steps that are done")
        if writes:
            with folder.writing():
                changed.save(folder.file(CONFIG))
                run.trainer.watch_folder()
        run.trainer.state.stopped = ""  # also a run that stopped early was asked to go on
    return run


def _changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The settings with ``changes``, if a run that has begun may make them."""
    if fixed := [key for key in changes if key not in CHANGEABLE]:
        raise ConfigError(
            f"{fixed[0]} cannot change in a run that has begun; only {', '.join(CHANGEABLE)} can. "
            "For other settings start a new run; init_from=RUN takes over its weights"
        )
    alone = {key: value for key, value in changes.items() if "." not in key}
    values = {key.partition(".")[2]: value for key, value in changes.items() if "." in key}
    trainer = config.trainer.to_dict() | values
    if "epochs" in values and "max_steps" not in values:
        trainer["max_steps"] = None  # else the epochs would count for nothing
    return RunConfig.from_dict({**config.to_dict(), **alone, "trainer": trainer})


def _assemble(
    config: RunConfig,
    folder: RunFolder,
    prepared: Prepared,
    warn: Warn,
    weights: Checkpoint | None = None,
    group: Group | None = None,
) -> Run:
    """Model, optimizer, schedule and loader as the config says, in a trainer."""
    run_dir, callbacks = folder.path, create_callbacks(confined_callbacks(config, folder))
    task = config.the_task
    task.refuse_impossible(config, prepared.processor)
    model = task.model(config, prepared.processor)
    parametrize(model, config)
    if weights is not None:
        model.load_state_dict(weights.model)
    if (adapter := create_adapter(config.adapter)) is not None:
        adapter.add(model, config.seed)
    model.to(config.device)
    pack(model)
    privacy = create_privacy(config.privacy)
    if privacy is None:
        loader = task.loader(config, prepared)
    else:
        loader = privacy.load(task.samples(config, prepared), config.trainer.batch_size)
    optimizer = create_optimizer(config.optimizer, model)
    steps = config.trainer.total_steps(loader.steps_per_epoch)
    config.scheduler.check_run(config.optimizer, steps)
    schedule = config.scheduler.for_run(config.optimizer.learning_rate, steps)
    scheduler = create_scheduler(schedule, optimizer, steps)
    watches = [PlateauWatch()] if isinstance(scheduler, ReduceOnPlateau) else []
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        loss_fn=task.loss_fn(config, prepared),
        metrics={**task.metrics(config, prepared.processor), **create_metrics(config.metrics)},
        # A plateau has a state and goes into checkpoints; of the others the pure function is enough.
        scheduler=scheduler.schedule if isinstance(scheduler, Scheduler) else scheduler,
        callbacks=[*watches, *task.callbacks(config, prepared), *callbacks, MadeOverTime(task, config, prepared)],
        train_data=loader,
        val_data=task.validation_data(config, prepared),
        config=config.trainer,
        run_dir=run_dir,
        key=Key.from_seed(config.seed).fold("dropout"),
        tokenizer=task.tokenizer(prepared.processor),
        hyperparameters=config.to_dict(),
        device=config.device,
        privacy=privacy,
        group=Alone() if group is None and config.trainer.gradient_sum == "tree" else group,
        warn=warn,
    )
    trainer.run.command = resume_command(run_dir, trust=needs_trust(config, run_dir))
    return Run(config, run_dir, task, prepared, trainer, group)


def _refuse_used(folder: Path, config: RunConfig) -> None:
    """Raise a ``CheckpointError`` if the folder holds a run already; it says how to continue that one."""
    command: str | None = resume_command(folder)
    with contextlib.suppress(MinitrainError):  # whatever is wrong with it, continuing it will say
        old = read_settings(RunFolder(folder))
        command = resume_command(folder, trust=needs_trust(old, folder)) if isinstance(old, RunConfig) else None
    refuse_used_folder(folder, open_checkpoints(folder, config.trainer), command)


def _has_checkpoint(run: Run) -> bool:
    store = run.trainer.checkpoints
    return store is not None and bool(store.checkpoints())


def _read_config(folder: RunFolder) -> RunConfig:
    config = read_settings(folder)
    if not isinstance(config, RunConfig):
        raise resume_in_python(folder.path)
    refuse_remote_checkpoints(config, folder)
    return config


def new_folder(config: RunConfig) -> RunFolder:
    """A new folder under ``runs/``, named by the data, or else by the recipe, and the time."""
    path = config.data_path
    text = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(path).stem)[:40].strip("._-") if path else ""
    name = f"{text or config.recipe or config.model.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return new_run_folder("runs", name, trusted=True)
