"""Training: a trainer and its parts, each with one responsibility, usable alone.

The names are imported when first used: reading a config needs none of the machinery.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..optim import create_optimizer, create_scheduler
    from .checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
    from .checkpoint_manager import CheckpointManager
    from .config import DataConfig, ModelConfig, RunConfig, TrainerConfig
    from .evaluation import Validation, evaluate
    from .loop import Update, train_step
    from .metrics import MetricsWriter, read_metrics
    from .optimizer_config import AdamWConfig, OptimizerConfig, SchedulerConfig
    from .plots import plot_learning_rate, plot_loss
    from .report import TrainResult
    from .run import LoadedRun, Run, evaluate_run, load_run, plot_run, resume_run, start_run
    from .signals import Interrupted
    from .trainer import Trainer, TrainerState

__all__ = [
    "AdamWConfig",
    "Checkpoint",
    "CheckpointManager",
    "DataConfig",
    "Interrupted",
    "LoadedRun",
    "MetricsWriter",
    "ModelConfig",
    "OptimizerConfig",
    "Run",
    "RunConfig",
    "SchedulerConfig",
    "TrainResult",
    "Trainer",
    "TrainerConfig",
    "TrainerState",
    "Update",
    "Validation",
    "create_optimizer",
    "create_scheduler",
    "evaluate",
    "evaluate_run",
    "load_run",
    "plot_learning_rate",
    "plot_loss",
    "plot_run",
    "read_checkpoint",
    "read_metrics",
    "resume_run",
    "start_run",
    "train_step",
    "verify_checkpoint",
]

_HOME = {
    "AdamWConfig": "optimizer_config",
    "Checkpoint": "checkpoint",
    "CheckpointManager": "checkpoint_manager",
    "DataConfig": "config",
    "Interrupted": "signals",
    "LoadedRun": "run",
    "MetricsWriter": "metrics",
    "ModelConfig": "config",
    "OptimizerConfig": "optimizer_config",
    "Run": "run",
    "RunConfig": "config",
    "SchedulerConfig": "optimizer_config",
    "TrainResult": "report",
    "Trainer": "trainer",
    "TrainerConfig": "config",
    "TrainerState": "trainer",
    "Update": "loop",
    "Validation": "evaluation",
    "create_optimizer": ".optim",
    "create_scheduler": ".optim",
    "evaluate": "evaluation",
    "evaluate_run": "run",
    "load_run": "run",
    "plot_learning_rate": "plots",
    "plot_loss": "plots",
    "plot_run": "run",
    "read_checkpoint": "checkpoint",
    "read_metrics": "metrics",
    "resume_run": "run",
    "start_run": "run",
    "train_step": "loop",
    "verify_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # asked once only
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
