"""Checkpoints for a loop of your own that counts in epochs: model, optimizer, schedule and progress in one hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backend.arrays import device_of
from ..backend.precision import current_precision
from ..errors import CheckpointError, ConfigError, DeviceError
from ..settings.better import is_better
from ..versions import versions
from .format import Contents
from .manifest import Location, step_of
from .products import PRODUCTS, go_on_with, read_products, saved_products
from .store import CheckpointStore, Warn, is_url, split_location, warn_user


class CheckpointManager:
    """Saves and loads what a loop of your own trains, and remembers how far it is and what was best.

    A subclass may override ``save_checkpoint(path, **extra)`` to add to what is saved; ``load_checkpoint`` returns it.

    Args:
        model: has ``state_dict`` and ``load_state_dict``.
        optimizer: likewise.
        checkpoint_dir: the folder, made at once; or a URL such as ``s3://bucket/run``.
        scheduler: a schedule; its state is saved if it has one.
        device: where the model is; only to be sure of it.
        keep: how many of the newest checkpoints to keep.
        keep_best: how many of the best to keep beside those.
        metric: the name of the metric given as ``metric_value``.
        mode: ``"min"`` if less of it is better, ``"max"`` if more is.
        warn: called with a sentence when something is not as it should be.

    Attributes:
        state: ``current_epoch``, ``global_step``, ``best_val_metric`` and ``patience_counter``, and what `update_state`
            adds.
        store: the `CheckpointStore` beneath.

    Raises:
        ConfigError: if a setting is out of range.
        DeviceError: if the model is on another device.
        FileError: if the folder cannot be made.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        checkpoint_dir: Location,
        scheduler: Any = None,
        device: str | None = None,
        *,
        keep: int = 3,
        keep_best: int = 1,
        metric: str = "val_loss",
        mode: str = "min",
        warn: Warn = warn_user,
    ) -> None:
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        _check_device(model, device)
        self.store = CheckpointStore(
            checkpoint_dir, keep=keep, keep_best=keep_best, metric=metric, mode=mode, warn=warn
        )
        self.store.folder.make()
        self.state: dict[str, Any] = {
            "current_epoch": 0,
            "global_step": 0,
            "best_val_metric": None,
            "patience_counter": 0,
        }
        self._values: dict[str, float] = {}  # metric values by the names of checkpoints to come

    def update_state(self, **partial: Any) -> None:
        """Change a part of the state, e.g. ``update_state(current_epoch=5, global_step=1000)``."""
        self.state.update(partial)

    def get_checkpoint_path(self, epoch: int, metric_value: float) -> Location:
        """Where the checkpoint of an epoch belongs, e.g. ``epoch-0005-val_loss-0.8500``.

        Raises:
            ConfigError: if the epoch is negative.
        """
        if epoch < 0:
            raise ConfigError(f"an epoch is counted from 0, it cannot be {epoch}")
        name = f"epoch-{epoch:04d}-{self.store.metric}-{metric_value:.4f}"
        self._values[name] = float(metric_value)
        return self.store.folder.location(name)

    def save_checkpoint(self, path: Location, **extra: Any) -> Location:
        """Save model, optimizer, schedule and state, and delete the checkpoints that are too many.

        Args:
            path: from `get_checkpoint_path`, or a name of your own, which is then neither deleted nor found again.
            extra: what else to save: numbers, text, lists, dictionaries, arrays.

        Raises:
            FileError: if it does not fit or cannot be written; older checkpoints are untouched.
            CheckpointError: if it is there already, or ``extra`` cannot be saved.
        """
        parent, name = split_location(path)
        epoch = step_of(name)
        step = int(self.state["current_epoch"]) if epoch is None else epoch
        metrics = {self.store.metric: self._values[name]} if name in self._values else {}
        contents = self.contents(step, extra)
        contents = contents._replace(metrics={**contents.metrics, **metrics})
        if epoch is not None and _same_place(parent, self.store.directory):
            return self.store.save(contents, name=name)
        return CheckpointStore(parent, warn=self.store.warn).save_as(name, contents)

    def contents(self, step: int, extra: Mapping[str, Any]) -> Contents:
        """The content of a checkpoint of ``step``, with ``extra``."""
        rest = {"progress": dict(self.state), "extra": dict(extra), "versions": versions()}
        rest[PRODUCTS] = saved_products(_device(self.model), current_precision())
        if hasattr(self.scheduler, "state_dict"):
            rest["scheduler"] = self.scheduler.state_dict()
        return Contents(step, self.model.state_dict(), self.optimizer.state_dict(), rest)

    def save_best_checkpoint(self, metric_value: float, epoch: int | None = None, **extra: Any) -> Location | None:
        """Save if ``metric_value`` is better than all before; count in ``patience_counter`` how long none was.

        NaN, infinity and an equal value are no better.

        Args:
            metric_value: the metric.
            epoch: its epoch; by default the state's ``current_epoch``.
            extra: see `save_checkpoint`.

        Returns:
            Where the checkpoint is, or ``None`` if there was no need for one.
        """
        epoch = int(self.state["current_epoch"]) if epoch is None else epoch
        value = float(metric_value)
        if not is_better(value, self.state["best_val_metric"], self.store.mode):
            self.update_state(patience_counter=self.state["patience_counter"] + 1)
            return None
        self.update_state(best_val_metric=value, patience_counter=0)
        return self.save_checkpoint(self.get_checkpoint_path(epoch, value), **extra)

    def load_checkpoint(self, path: Location) -> dict[str, Any]:
        """Take up the checkpoint at ``path``.

        The kernels multiply with what it was made with, if they are not in use yet; a warning says so if they cannot.

        Returns:
            The state and what else was saved, by name.

        Raises:
            CheckpointError: if it is damaged or belongs to another model or optimizer; nothing is loaded then.
        """
        parent, name = split_location(path)
        checkpoint = CheckpointStore(parent).load(name)
        checkpoint.check_fits(self.model.state_dict())
        progress, extra = checkpoint.state.get("progress"), checkpoint.state.get("extra")
        if not isinstance(progress, Mapping) or not isinstance(extra, Mapping):
            raise CheckpointError(f"{path} was not saved by a CheckpointManager: load it with Trainer.load_checkpoint")
        read_products(checkpoint.state)  # may refuse them
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.model.load_state_dict(checkpoint.model)
        if hasattr(self.scheduler, "load_state_dict"):
            self.scheduler.load_state_dict(checkpoint.state.get("scheduler", {}))
        self.state = dict(progress)
        go_on_with(checkpoint.state, _device(self.model), self.store.warn)
        return {**self.state, **extra}

    def get_latest_checkpoint(self) -> Location | None:
        """The newest intact checkpoint, or ``None``; damaged ones are skipped and told."""
        return self.store.latest()

    def get_best_checkpoint(self) -> Location | None:
        """The best intact checkpoint, or ``None``; see `CheckpointStore.best`."""
        return self.store.best()


def _same_place(one: Location, other: Location) -> bool:
    """Whether two names are of one folder: relative or absolute, with or without a slash at the end."""
    if is_url(one) or is_url(other):
        return str(one).rstrip("/") == str(other).rstrip("/")
    return Path(one).absolute() == Path(other).absolute()


def _device(model: Any) -> str:
    """Where a model is."""
    parameter = next((parameter for _, parameter in model.named_parameters()), None)
    return "cpu" if parameter is None else device_of(parameter.data)


def _check_device(model: Any, device: str | None) -> None:
    """Make sure that the model is where the caller says."""
    here = _device(model)
    if device is not None and device not in (here, here.partition(":")[0]):
        raise DeviceError(
            f"the model is on {here}, not on {device}: call model.to({device!r}) before making the optimizer"
        )
