"""Starting a run from the weights of another run, or of a checkpoint: ``init_from``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...checkpoint import Checkpoint
from ...checkpoint.store import CheckpointStore, Warn, is_url, split_location
from ...errors import CheckpointError
from ...folder import RunFolder
from ...folder.names import CHECKPOINTS, CONFIG, TOKENIZER
from ...interop.formats import is_published, published_tokenizer
from ...tasks.task import Task
from ...training.preconditions import open_checkpoints
from ..config import MADE_IN_PYTHON, RunConfig, read_yaml
from ..confine import refuse_remote_checkpoints
from .adapters import create_adapter, merge_adapters
from .published import load_published_weights, published_settings


def inherited_settings(place: str) -> dict[str, Any]:
    """The settings that come with initial weights from another run: the model's, and the block size.

    ``place`` may be a published model. Nothing if it is a checkpoint alone, or a run made in Python.

    Raises:
        ConfigError: if the settings of that run are damaged.
        CheckpointError: if a published model cannot be read.
    """
    if is_published_model(place):
        return published_settings(place)
    run_dir = run_of(place)
    if run_dir is None or read_yaml(RunFolder(run_dir).file(CONFIG)).get("kind") == MADE_IN_PYTHON:
        return {}
    config = RunConfig.load(RunFolder(run_dir).file(CONFIG), to_train=False)
    length = getattr(config.data, "block_size", None)
    return {
        "task": config.task,
        "options": {"model": config.model.name},
        "model": config.model.to_dict(),
        "data": {} if length is None else {"block_size": length},
    }


def initial_processor(place: str, task: Task) -> Any:
    """The processor of the run or the published model that weights are taken from; ``None`` if a run has none.

    Raises:
        DataError: if it is damaged, or a published model has none that minitrain can use.
        CheckpointError: if it is of another task.
    """
    if is_published_model(place):
        return published_tokenizer(place)
    run_dir = run_of(place)
    if run_dir is None:
        return None
    folder = RunFolder(run_dir)
    values = read_yaml(folder.file(CONFIG))
    if values.get("kind") == MADE_IN_PYTHON:
        return task.load_processor(folder) if folder.exists(TOKENIZER) else None
    if (other := values.get("task", RunConfig.task)) != task.name:
        raise CheckpointError(f"init_from={place} is a run of task={other!r:.60}, and this one is of task={task.name}")
    return task.load_processor(folder)


def load_initial(place: str, warn: Warn, sizes: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint at ``place``, or the newest intact one of the run there. Adapters are merged into its weights.

    Args:
        place: a run folder, a checkpoint, a folder of transformers, or a GGUF file.
        warn: called with a sentence for each damaged checkpoint that is skipped.
        sizes: ``block_size`` and ``vocab_size`` of the new run: a published model may be for longer sequences, and
            have rows for more tokens.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    if is_published_model(place):
        return load_published_weights(place, sizes.get("block_size"), sizes.get("vocab_size"))
    checkpoint = _load(place, warn)
    run_dir, adapter = run_of(place), None
    if run_dir is not None and read_yaml(RunFolder(run_dir).file(CONFIG)).get("kind") != MADE_IN_PYTHON:
        adapter = create_adapter(RunConfig.load(RunFolder(run_dir).file(CONFIG), to_train=False).adapter)
    merge_adapters(checkpoint, adapter)
    return checkpoint


def is_published_model(place: str) -> bool:
    """Whether weights are taken from a folder of transformers or a GGUF file."""
    return not is_url(place) and not (Path(place) / CONFIG).is_file() and is_published(place)


def _load(place: str, warn: Warn) -> Checkpoint:
    """The checkpoint as it was saved."""
    folder = Path(place)
    if not is_url(place) and not folder.is_dir():
        raise CheckpointError(f"init_from={place}: there is no such folder; give a run folder or a checkpoint in one")
    if is_url(place) or (folder / "manifest.json").exists():
        parent, name = split_location(place)
        return CheckpointStore(parent, warn=warn).load(name)
    run_dir = run_of(place)
    if run_dir is None and not (folder / CHECKPOINTS).is_dir():
        raise CheckpointError(f"init_from={place} is neither a run folder nor a checkpoint")
    if run_dir is not None and read_yaml(RunFolder(run_dir).file(CONFIG)).get("kind") != MADE_IN_PYTHON:
        config = RunConfig.load(RunFolder(run_dir).file(CONFIG), to_train=False)
        refuse_remote_checkpoints(config, RunFolder(run_dir))
        store: Any = open_checkpoints(run_dir, config.trainer, warn)
    else:
        store = CheckpointStore(folder / CHECKPOINTS, warn=warn)
    path = store.latest()
    if path is None:
        raise CheckpointError(f"init_from={place}: the run has no intact checkpoint")
    return store.load(path)  # type: ignore[no-any-return]


def run_of(place: str) -> Path | None:
    """The run folder that ``place`` is, or that the checkpoint there belongs to; ``None`` if there is none."""
    if is_url(place):
        return None
    folder = Path(place)
    return next((run for run in (folder, folder.parent.parent) if (run / CONFIG).is_file()), None)
