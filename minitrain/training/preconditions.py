"""Checks before a training begins: its arguments and parts, and that it overwrites no other run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backend.cuda.device import check_float8_device
from ..backend.precision import HALF
from ..checkpoint.manifest import Location
from ..checkpoint.store import CheckpointStore, Warn, is_url, warn_user
from ..distributed.group import Group
from ..errors import CheckpointError, ConfigError, nearest
from ..folder import RunFolder
from ..folder.names import CHECKPOINTS, METRICS
from .callbacks.base import Callback, sees_gradients
from .callbacks.control.guards import NaNGuard, SpikeGuard
from .config import TrainingConfig
from .privacy import DPSGD
from .setup import Setup
from .steps.whole_batch import WholeBatch

ALIASES = {
    "train_dataloader": "train_data",
    "train_loader": "train_data",
    "dataset": "train_data",
    "val_dataloader": "val_data",
    "val_loader": "val_data",
    "checkpoint_dir": "run_dir",
    "schedule": "scheduler",
    "use_amp": "use_mixed_precision",
}
"""Other names of the trainer's arguments."""


def resolve_aliases(
    arguments: Mapping[str, Any], aliases: Mapping[str, Any], others: Iterable[str] = ()
) -> dict[str, Any]:
    """``arguments`` with those that were given under another name.

    Args:
        arguments: those that have other names.
        aliases: what was given under a name that is no argument's.
        others: arguments without another name, for the message.

    Raises:
        ConfigError: if a name is unknown, or the argument was given under both.
    """
    resolved = dict(arguments)
    for alias, value in aliases.items():
        name = ALIASES.get(alias, alias if alias in arguments else None)
        if name is None:
            known = [name for name in dict.fromkeys([*others, *arguments]) if name != "aliases"]
            near = nearest(alias, [*known, *ALIASES])
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"Trainer has no argument {alias}; {hint}")
        if resolved[name] is not None:
            raise ConfigError(f"Trainer was given both {name} and {alias}, which mean the same")
        resolved[name] = value
    return resolved


def open_checkpoints(folder: Location | None, config: TrainingConfig, warn: Warn = warn_user) -> CheckpointStore | None:
    """The checkpoints of a run: at the URL of its settings, or in its folder, which may be a URL itself.

    Args:
        folder: the run folder; ``None`` without one.
        config: where the checkpoints are, and how many are kept.
        warn: see `CheckpointStore`.

    Raises:
        FileError: if a link stands in for the folder of the checkpoints.
    """
    place = config.checkpoint_url
    if place is None and folder is not None:
        place = str(folder) if is_url(folder) else str(RunFolder(folder).file(CHECKPOINTS))
    if place is None:
        return None
    return CheckpointStore(
        place,
        keep=config.keep_checkpoints,
        keep_best=config.keep_best_checkpoints,
        metric=config.best_metric,
        mode=config.best_mode,
        warn=warn,
    )


def refuse_used_folder(run_dir: Path | None, checkpoints: CheckpointStore | None, command: str | None = None) -> None:
    """Make sure that a new run would overwrite nothing.

    Args:
        run_dir: its folder, if it has one.
        checkpoints: where its checkpoints go, if there are to be any.
        command: the command line that continues a run in this folder; ``None`` in a script.

    Raises:
        CheckpointError: if there are checkpoints or metrics; the message says how to go on.
    """
    metrics = None if run_dir is None else RunFolder(run_dir).file(METRICS)
    if metrics is not None and metrics.exists() and metrics.stat().st_size:
        used: Location | None = run_dir
    else:
        used = checkpoints.directory if checkpoints is not None and checkpoints.checkpoints() else None
    if used is not None:
        go_on = "trainer.resume() before trainer.train()" if command is None else command
        raise CheckpointError(
            f"{run_dir or used} already holds a run, and a new one would overwrite it: continue it with "
            f"{go_on}; or choose another folder with run_dir=..."
        )


def checked_config(config: TrainingConfig | None, use_mixed_precision: bool | None) -> TrainingConfig:
    """The configuration, or the default one.

    Raises:
        ConfigError: if it is something else than a `TrainingConfig`.
    """
    config = TrainingConfig() if config is None else config
    if not isinstance(config, TrainingConfig):
        raise ConfigError(f"config is a {type(config).__name__}: give a TrainingConfig(epochs=..., ...)")
    return config if use_mixed_precision is None else replace(config, use_mixed_precision=use_mixed_precision)


def refuse_another_model(optimizer: Any, model: Any) -> None:
    """Raise a ``ConfigError`` if it is no optimizer, or updates no parameter of the model."""
    if isinstance(optimizer, str | type) or not hasattr(optimizer, "get_lr"):
        given = optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__
        kind = "the class" if isinstance(optimizer, type) else "a"
        raise ConfigError(f"optimizer is {kind} {given}: give an optimizer of this model, AdamW(model, lr=1e-3)")
    updated = getattr(optimizer, "model", model)
    if updated is not model and not {*map(id, updated.parameters())} & {*map(id, model.parameters())}:
        raise ConfigError(
            "the optimizer was made for another model and would not train this one; make it with this model"
        )


def refuse_single_callback(callbacks: Any) -> None:
    """Raise a ``ConfigError`` for a callback that is not in a list."""
    if isinstance(callbacks, Callback):
        raise ConfigError(f"callbacks is one {type(callbacks).__name__}: give a list, callbacks=[...]")


def check_precision_fits(setup: Setup, warn: Warn) -> None:
    """Check that the model, its loss and the device can do what the precision asks for.

    Args:
        setup: has all of them.
        warn: told if 16 bits save memory and not time.

    Raises:
        ConfigError: if they cannot.
        DeviceError: if the device cannot multiply in 8 bits and should.
    """
    name = setup.arithmetic.precision
    if name == "float8":
        check_float8_device(setup.device)
    if name in (*HALF, "float8", "float64"):
        wanted = "float64" if name == "float64" else "float32"
        for path, parameter in setup.model.named_parameters():
            if parameter.data.dtype.name != wanted:
                raise ConfigError(
                    f"precision={name} needs a model of dtype {wanted}, but {path} is {parameter.data.dtype}: make the "
                    f"model with dtype={wanted!r}"
                )
    if name not in HALF:
        return
    if name == "float16" and "dtotal" not in inspect.signature(setup.objective.loss_backward).parameters:
        raise ConfigError(
            f"precision=float16 scales the loss, but {type(setup.objective).__name__}.loss_backward has no argument "
            "dtotal for the scale: add it (see GPT), or use precision=bfloat16, which needs none"
        )
    if setup.device != "cpu":
        return
    from ..backend.cpu.products.bf16_units import bf16_unit

    unit = bf16_unit()
    if name == "float16" or not unit.takes_halves:
        reason = "there are no kernels for float16" if name == "float16" else unit.reason
        warn(
            f"precision={name}: operands are rounded to 16 bits and multiplied as float32 ({reason}): this saves "
            "memory and costs some time"
        )


def check_privacy_fits(setup: Setup, privacy: DPSGD | None, callbacks: Iterable[Callback]) -> None:
    """Check that nothing breaks what a private training promises.

    Raises:
        ConfigError: if the loss is scaled or compares samples with each other, or if a callback skips or repeats steps
            by looking at the samples.
    """
    if privacy is None:
        return
    if setup.arithmetic.scaler is not None:
        raise ConfigError("private training has no loss scale: set precision=bfloat16 or float32 in place of float16")
    if WholeBatch.suits(setup.objective):
        raise ConfigError(
            f"private training does not go with {type(setup.objective).__name__}, whose loss compares the samples of a "
            "batch: no gradient belongs to one sample alone"
        )
    for callback in callbacks:
        if isinstance(callback, NaNGuard | SpikeGuard):
            raise ConfigError(
                f"private training does not go with {type(callback).__name__}: which steps it skips or repeats tells "
                "of single samples, and no budget counts that"
            )


def check_ranks_fit(
    setup: Setup,
    config: TrainingConfig,
    privacy: DPSGD | None,
    group: Group | None,
    callbacks: Iterable[Callback] = (),
) -> None:
    """Check that a training can be shared by ranks, and share the moments if the configuration says so.

    Raises:
        ConfigError: if a callback reads gradients that no rank has, or 16 bits of them do not do; for ``zero=2`` on
            GPUs.
    """
    if group is None:
        return
    if privacy is not None:
        privacy.share(group)
    if config.reduce_dtype != "float32":
        if privacy is not None:
            raise ConfigError(
                f"reduce_dtype={config.reduce_dtype} does not go with private training, whose gradients travel as they "
                "are: leave reduce_dtype out"
            )
        for path, parameter in setup.model.named_parameters():
            if parameter.data.dtype.name != "float32":
                raise ConfigError(
                    f"reduce_dtype={config.reduce_dtype} is for gradients of float32, but {path} is "
                    f"{parameter.data.dtype}: leave reduce_dtype out, or make the model with dtype='float32'"
                )
    if config.zero and group.size > 1:
        if config.zero == 2:
            if setup.device != "cpu":
                raise ConfigError(
                    "zero=2 gives the memory of gradients back piece by piece, which a GPU cannot: set zero=1, which "
                    "shares the moments"
                )
            if privacy is not None:
                raise ConfigError("zero=2 does not go with private training, which adds whole gradients: set zero=1")
            _check_nobody_reads_gradients(setup, callbacks)
        setup.optimizer.share(group)


def _check_nobody_reads_gradients(setup: Setup, callbacks: Iterable[Callback]) -> None:
    """Check that nothing looks at the whole gradient, which no rank has in stage 2 of ZeRO."""
    if setup.arithmetic.scaler is not None:
        raise ConfigError("zero=2 does not go with precision=float16, which scales whole gradients: use bfloat16")
    for callback in callbacks:
        if sees_gradients(callback):
            raise ConfigError(
                f"zero=2 does not go with {type(callback).__name__}, which may read gradients: no rank has all. "
                "Set zero=1, or reads_gradients = False in a callback of your own that does not"
            )
