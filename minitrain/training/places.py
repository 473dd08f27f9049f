"""Where a run keeps its checkpoints, and the rule that no run overwrites another."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..checkpoint.manifest import Location
from ..checkpoint.store import CheckpointStore, Warn, is_url, warn_user
from ..errors import CheckpointError
from ..folder import RunFolder
from ..folder.names import CHECKPOINTS, METRICS
from .config import TrainerConfig


def open_checkpoints(folder: Location | None, config: TrainerConfig, warn: Warn = warn_user) -> CheckpointStore | None:
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


def refuse_used_folder(run_dir: Path | None, checkpoints: CheckpointStore | None) -> None:
    """Make sure that a new run would overwrite nothing.

    Args:
        run_dir: its folder, if it has one.
        checkpoints: where its checkpoints go, if there are to be any.

    Raises:
        CheckpointError: if there are checkpoints or metrics; the message says how to go on.
    """
    metrics = None if run_dir is None else RunFolder(run_dir).file(METRICS)
    if metrics is not None and metrics.exists() and metrics.stat().st_size:
        used: Location | None = run_dir
    else:
        used = checkpoints.directory if checkpoints is not None and checkpoints.checkpoints() else None
    if used is not None:
        go_on = "Trainer.resume()" if run_dir is None else f"--resume {shlex.quote(str(run_dir))}"
        raise CheckpointError(
            f"{run_dir or used} already holds a run, and a new one would overwrite it: continue it with "
            f"{go_on}, or choose another folder with run_dir=..."
        )
