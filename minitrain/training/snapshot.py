"""All state of a trainer, into a checkpoint and back."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import CheckpointError, DataError
from .checkpoint_manager import CheckpointManager
from .collector import MetricsCollector
from .state import TrainerState

if TYPE_CHECKING:
    from .trainer import Trainer


def save_snapshot(trainer: Trainer, path: str | Path | None = None) -> Path:
    """Save model, optimizer, state, schedule, metrics and callbacks at ``path``, or in the trainer's run folder."""
    state = trainer.state
    state.stopped = trainer.control.stop
    rest: dict[str, Any] = {
        "trainer": state.to_dict(),
        "callbacks": trainer.callbacks.state_dict(),
        "metrics": trainer.history.to_dict(),
        "versions": versions(),
    }
    if hasattr(trainer.schedule, "state_dict"):
        rest["scheduler"] = trainer.schedule.state_dict()
    contents = trainer.model.state_dict(), trainer.optimizer.state_dict(), rest
    if path is not None:
        return CheckpointManager(Path(path).parent, warn=trainer.warn).save_as(path, state.step, *contents)
    assert trainer.checkpoints is not None
    return trainer.checkpoints.save(state.step, *contents)


def load_snapshot(trainer: Trainer, path: str | Path) -> None:
    """Take up what `save_snapshot` saved at ``path``.

    Raises:
        CheckpointError: if it is damaged or belongs to another model; nothing is loaded then.
    """
    checkpoint = CheckpointManager(Path(path).parent, warn=trainer.warn).load(path)
    checkpoint.check_fits(trainer.model.state_dict())
    rest = checkpoint.state
    try:
        state, callbacks = TrainerState.from_dict(rest["trainer"]), dict(rest["callbacks"])
        history = MetricsCollector()
        history.from_dict(rest["metrics"])
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} was not saved by a trainer: {error!r}") from error
    trainer.optimizer.load_state_dict(checkpoint.optimizer)
    trainer.model.load_state_dict(checkpoint.model)
    if hasattr(trainer.schedule, "load_state_dict"):
        trainer.schedule.load_state_dict(rest.get("scheduler", {}))
    trainer.state = state
    trainer.history = history
    trainer.callbacks.load_state_dict(callbacks)


def versions() -> dict[str, str]:
    """What a checkpoint was made with, for whoever wonders later."""
    return {"minitrain": __version__, "numpy": np.__version__, "python": platform.python_version()}
