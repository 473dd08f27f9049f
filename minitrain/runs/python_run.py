"""Runs whose folder was written by a `Trainer` in Python, which has no complete configuration.

Their ``config.yaml`` has ``kind: python`` and what the trainer knew. Pictures and tables need no more than the metrics.
The model can be made again if it is one of the library's own; its data and its loop are the script's.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backend.product import NAMES
from ..checkpoint import Checkpoint
from ..checkpoint.store import CheckpointStore, Warn
from ..errors import CheckpointError, ConfigError
from ..files import FileError
from ..folder import RunFolder
from ..folder.names import CHECKPOINTS, CONFIG, METRICS, RUN_INFO
from ..folder.not_a_run import not_a_run
from ..formats import size
from ..models import presets
from ..records.jsonl import read_metrics
from ..settings.declared import arguments, settings_of
from ..tasks.settings.model import MODELS
from ..training.objective import counted_by
from ..training.saving.capture import evaluation_weights
from .config import MADE_IN_PYTHON, RunConfig, read_yaml


def read_settings(folder: RunFolder, *, to_train: bool = True) -> RunConfig | Mapping[str, Any]:
    """The settings of the run in a folder: those of a run from the command line, or what a `Trainer` wrote down.

    Args:
        folder: the run folder.
        to_train: whether the run is to be trained; see `RunConfig.load`.

    Raises:
        CheckpointError: if the folder is no run.
        ConfigError: if the settings are damaged.
    """
    values = written_settings(folder)
    return values if is_from_python(values) else RunConfig.load(folder.file(CONFIG), to_train=to_train)


def written_settings(folder: RunFolder) -> Mapping[str, Any]:
    """The settings of the run in a folder as they are written there, not checked; see `is_from_python`.

    Raises:
        CheckpointError: if the folder is no run.
        ConfigError: if the file of settings is no YAML.
    """
    if not folder.path.is_dir():
        raise not_a_run(folder.path)
    if folder.exists(CONFIG):
        return read_yaml(folder.file(CONFIG))
    if not folder.exists(METRICS) and not folder.exists(CHECKPOINTS):
        raise not_a_run(folder.path)
    settings = run_info(folder).get("settings")
    return {**(settings if isinstance(settings, dict) else {}), "kind": MADE_IN_PYTHON}


def is_from_python(values: Mapping[str, Any]) -> bool:
    """Whether written settings are those of a run that a `Trainer` in Python made."""
    return values.get("kind") == MADE_IN_PYTHON


def counted_in(values: Mapping[str, Any]) -> str:
    """The unit that the losses of a run with these written settings count, such as tokens."""
    model = values.get("model")
    name = (model.get("class") or model.get("name")) if isinstance(model, Mapping) else None
    if not is_from_python(values):  # a model of your own may not be registered here
        return counted_by(MODELS[name].model) if isinstance(name, str) and name in MODELS else "tokens"
    return counted_by(next((kind for kind in presets.MODELS if kind.__name__ == name), None))


def run_info(folder: RunFolder) -> Mapping[str, Any]:
    """The content of ``run.json``; nothing if it is missing or damaged."""
    try:
        content = folder.read_json(RUN_INFO)
    except (FileError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def rebuild_model(folder: RunFolder, settings: Mapping[str, Any]) -> Any:
    """The model of a run made in Python, with fresh weights, if it is one of the library's.

    Raises:
        CheckpointError: if it is not; says how to go on in Python.
    """
    described = settings.get("model")
    values = dict(described) if isinstance(described, Mapping) else {}
    name = values.pop("class", None) or values.pop("name", None)
    values.pop("name", None)
    kinds: dict[str, tuple[Any, Any]] = {model.__name__: (model.config_type, model) for model in presets.MODELS}
    if not isinstance(name, str) or name not in kinds:
        named = isinstance(name, str)
        what = f"its model, {name}, is not one of minitrain's" if named else "it does not say what its model is"
        raise CheckpointError(
            f"{folder.path} was made by a Trainer in Python, and {what}: open it with load_run({str(folder.path)!r}, "
            "model=...) from minitrain.runs, or with Trainer.resume() in the script that made it"
        )
    if not CheckpointStore(folder.file(CHECKPOINTS)).checkpoints():
        raise CheckpointError(f"cannot use the run in {folder.path}: it has no checkpoint yet")
    kind, model = kinds[name]
    try:
        config = kind(**arguments(f"model {name}", settings_of(kind), values))
        _refuse_implausible(config, folder)
        return model(config)
    except ConfigError as error:
        raise CheckpointError(f"{folder.path}: its model cannot be made again: {error}") from error


def _refuse_implausible(config: Any, folder: RunFolder) -> None:
    """Refuse a model that is far larger than the weights in the folder: its settings may come from anybody."""
    sizes = [file.stat().st_size for file in folder.file(CHECKPOINTS).glob("step-*/model.safetensors")]
    needed, kept = 4 * _least_weights(config), max(sizes, default=0)
    if needed > kept:
        raise ConfigError(
            f"it would take {size(needed)} at the least, and its checkpoints have {size(kept)} of weights"
        )


def _least_weights(config: Any) -> int:
    """A number of weights that a library model of this configuration does not go below."""
    width = getattr(config, "n_embd", 0)
    rows = getattr(config, "vocab_size", 0) + getattr(config, "n_classes", 0)
    if hasattr(config, "image_size"):
        rows += (config.image_size // config.patch) ** 2
    layers = itertools.pairwise(getattr(config, "widths", ()))
    total: int = getattr(config, "n_layer", 0) * width**2 + rows * width + sum(a * b for a, b in layers)
    return total


def load_weights(folder: RunFolder, model: Any, warn: Warn, *, averaged: bool = True) -> Checkpoint:
    """Put the weights of the newest intact checkpoint into ``model``; returns that checkpoint.

    Averaged weights are taken where a callback kept some for evaluations, unless ``averaged`` is ``False``.

    Raises:
        CheckpointError: if there is none, or they are of another model.
    """
    store = CheckpointStore(folder.file(CHECKPOINTS), warn=warn)
    checkpoint = store.load_latest()
    if checkpoint is None:
        raise CheckpointError(f"cannot use the run in {folder.path}: it has no intact checkpoint")
    checkpoint.check_fits(model.state_dict())
    model.load_state_dict(evaluation_weights(checkpoint)[0] if averaged else checkpoint.model)
    return checkpoint


def resume_in_python(run_dir: Path) -> CheckpointError:
    """The error for a command that would need the script of a run made in Python."""
    return CheckpointError(
        f"{run_dir} was made by a Trainer in Python: its data and its loop are in a script. Run that script again, "
        "with trainer.resume() before trainer.train()"
    )


def is_opaque(folder: RunFolder) -> bool:
    """Whether the folder is of a run in Python whose model only its script can make.

    Raises:
        CheckpointError: if the folder is no run.
        ConfigError: if its settings are damaged.
    """
    settings = written_settings(folder)
    if not is_from_python(settings):
        return False
    try:
        rebuild_model(folder, settings)
    except CheckpointError:
        return True
    return False


def facts_of(folder: RunFolder) -> dict[str, str]:
    """Facts about a run from ``run.json`` and its metrics: its model, its size, how far it came."""
    info = run_info(folder)
    sessions = info.get("sessions")
    last = sessions[-1] if isinstance(sessions, list) and sessions and isinstance(sessions[-1], dict) else {}
    model = written_settings(folder).get("model")
    name = (model.get("class") or model.get("name")) if isinstance(model, Mapping) else None
    rows = {"model": f"{name or 'unknown'}, of a run made in Python"}
    for key in ("parameters", "trainable_parameters"):
        if isinstance(last.get(key), int):
            rows[key.replace("_", " ")] = f"{last[key]:,}"
    products = {dtype: last.get(f"products_{dtype}") for dtype in NAMES}
    if told := [f"{product[:300]} ({dtype})" for dtype, product in products.items() if isinstance(product, str)]:
        rows["matrix products"] = "; ".join(told)
    records = read_metrics(folder.file(METRICS)) if folder.exists(METRICS) else []
    steps = [record["step"] for record in records if isinstance(record.get("step"), int)]
    if steps:
        rows["steps"] = f"{max(steps):,}"
    for name in ("loss", "val_loss"):
        if values := [record[name] for record in records if name in record]:
            rows[name] = f"{values[-1]:.4f}"
    return rows
