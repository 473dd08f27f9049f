"""The names in a run folder, and the rule that no run overwrites another."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import CheckpointError
from .checkpoint_manager import CheckpointManager
from .metrics import METRICS

CONFIG, CHECKPOINTS, PLOTS = "config.yaml", "checkpoints", "plots"


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
