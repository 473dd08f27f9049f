"""Training: a trainer and its parts, each with one responsibility, usable alone.

The names are imported when first used: reading a config needs none of the machinery.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .callback import Callback, CallbackList
    from .callbacks import JsonlLogger, ProgressTracker
    from .checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
    from .checkpoint_manager import CheckpointManager
    from .collector import MetricsCollector
    from .config import AdamWConfig, DataConfig, ModelConfig, RunConfig, SchedulerConfig, TrainerConfig, TrainingConfig
    from .evaluation import TokenWindows, Validation, evaluate
    from .evaluator import Evaluator
    from .feed import BatchStream
    from .loop import Gradient, TrainingLoop, Update, train_step
    from .metrics import MetricsWriter, read_metrics
    from .objective import ModelWithLoss, accuracy
    from .plots import plot_learning_rate, plot_loss
    from .report import RunResult
    from .result import TrainResult
    from .run import LoadedRun, Run, evaluate_run, load_run, plot_run, resume_run, start_run
    from .signals import Interrupted
    from .state import Control, TrainerState
    from .trainer import Trainer

__all__ = [
    "AdamWConfig",
    "BatchStream",
    "Callback",
    "CallbackList",
    "Checkpoint",
    "CheckpointManager",
    "Control",
    "DataConfig",
    "Evaluator",
    "Gradient",
    "Interrupted",
    "JsonlLogger",
    "LoadedRun",
    "MetricsCollector",
    "MetricsWriter",
    "ModelConfig",
    "ModelWithLoss",
    "ProgressTracker",
    "Run",
    "RunConfig",
    "RunResult",
    "SchedulerConfig",
    "TokenWindows",
    "TrainResult",
    "Trainer",
    "TrainerConfig",
    "TrainerState",
    "TrainingConfig",
    "TrainingLoop",
    "Update",
    "Validation",
    "accuracy",
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
    "AdamWConfig": "config",
    "BatchStream": "feed",
    "Callback": "callback",
    "CallbackList": "callback",
    "Checkpoint": "checkpoint",
    "CheckpointManager": "checkpoint_manager",
    "Control": "state",
    "DataConfig": "config",
    "Evaluator": "evaluator",
    "Gradient": "loop",
    "Interrupted": "signals",
    "JsonlLogger": "callbacks",
    "LoadedRun": "run",
    "MetricsCollector": "collector",
    "MetricsWriter": "metrics",
    "ModelConfig": "config",
    "ModelWithLoss": "objective",
    "ProgressTracker": "callbacks",
    "Run": "run",
    "RunConfig": "config",
    "RunResult": "report",
    "SchedulerConfig": "config",
    "TokenWindows": "evaluation",
    "TrainResult": "result",
    "Trainer": "trainer",
    "TrainerConfig": "config",
    "TrainerState": "state",
    "TrainingConfig": "config",
    "TrainingLoop": "loop",
    "Update": "loop",
    "Validation": "evaluation",
    "accuracy": "objective",
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
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # asked once only
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
