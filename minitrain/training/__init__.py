"""Training: a trainer and its parts, each with one responsibility, usable alone.

The names are imported when first used: reading a config needs none of the machinery.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..optim import create_optimizer, create_scheduler
    from .by_epoch import EpochHistory
    from .callback import Callback, CallbackList
    from .callbacks import (
        CALLBACKS,
        EMA,
        SWA,
        ActivationStatistics,
        AdaptiveClipping,
        Checkpointing,
        CsvLogger,
        EarlyStopping,
        GradientStatistics,
        Histograms,
        JsonlLogger,
        LearningRateMonitor,
        MLflowLogger,
        NaNGuard,
        PlateauWatch,
        Plots,
        ProgressTracker,
        RunInfo,
        SampleGeneration,
        SpikeGuard,
        TensorBoardLogger,
        Throughput,
        TimeLimit,
        ValueClipping,
        WandbLogger,
        WeightStatistics,
        create_callbacks,
    )
    from .checkpoint import Checkpoint, Contents, read_checkpoint, verify_checkpoint
    from .checkpoint_manager import CheckpointManager
    from .checkpoint_store import CheckpointStore
    from .collector import MetricsCollector
    from .compare import Comparison, compare_runs, plot_comparison
    from .config import RunConfig, TrainerConfig, TrainingConfig
    from .data_config import DataConfig, ShardsConfig
    from .diagnosis import Diagnosis, diagnose
    from .epoch_trainer import perplexity
    from .epoch_trainers import LanguageModelTrainer, TransformerTrainer, train_model
    from .evaluation import TokenWindows, Validation, evaluate
    from .evaluator import Evaluator
    from .feed import BatchStream
    from .finders import BatchSearch, RateSearch, find_batch_size, find_learning_rate
    from .generation_config import GenerationConfig
    from .history_plots import plot_history
    from .html_report import write_html_report
    from .loop import TrainingLoop
    from .memory import Estimate, MemoryShortage, estimate
    from .metrics import MetricsWriter, read_metrics
    from .model_config import GPTModelConfig, LlamaModelConfig, ModelConfig
    from .multimodal import MultimodalTrainer
    from .objective import ModelWithLoss, accuracy
    from .optimizer_config import AdamWConfig, OptimizerConfig, SchedulerConfig
    from .plots import plot_learning_rate, plot_loss
    from .report import RunResult
    from .result import TrainResult
    from .run import LoadedRun, Run, evaluate_run, load_run, plot_run, resume_run, start_run
    from .signals import Interrupted
    from .state import Control, TrainerState
    from .step import Gradient, Update, train_step
    from .trainer import Trainer

__all__ = [
    "CALLBACKS",
    "EMA",
    "SWA",
    "ActivationStatistics",
    "AdamWConfig",
    "AdaptiveClipping",
    "BatchSearch",
    "BatchStream",
    "Callback",
    "CallbackList",
    "Checkpoint",
    "CheckpointManager",
    "CheckpointStore",
    "Checkpointing",
    "Comparison",
    "Contents",
    "Control",
    "CsvLogger",
    "DataConfig",
    "Diagnosis",
    "EarlyStopping",
    "EpochHistory",
    "Estimate",
    "Evaluator",
    "GPTModelConfig",
    "GenerationConfig",
    "Gradient",
    "GradientStatistics",
    "Histograms",
    "Interrupted",
    "JsonlLogger",
    "LanguageModelTrainer",
    "LearningRateMonitor",
    "LlamaModelConfig",
    "LoadedRun",
    "MLflowLogger",
    "MemoryShortage",
    "MetricsCollector",
    "MetricsWriter",
    "ModelConfig",
    "ModelWithLoss",
    "MultimodalTrainer",
    "NaNGuard",
    "OptimizerConfig",
    "PlateauWatch",
    "Plots",
    "ProgressTracker",
    "RateSearch",
    "Run",
    "RunConfig",
    "RunInfo",
    "RunResult",
    "SampleGeneration",
    "SchedulerConfig",
    "ShardsConfig",
    "SpikeGuard",
    "TensorBoardLogger",
    "Throughput",
    "TimeLimit",
    "TokenWindows",
    "TrainResult",
    "Trainer",
    "TrainerConfig",
    "TrainerState",
    "TrainingConfig",
    "TrainingLoop",
    "TransformerTrainer",
    "Update",
    "Validation",
    "ValueClipping",
    "WandbLogger",
    "WeightStatistics",
    "accuracy",
    "compare_runs",
    "create_callbacks",
    "create_optimizer",
    "create_scheduler",
    "diagnose",
    "estimate",
    "evaluate",
    "evaluate_run",
    "find_batch_size",
    "find_learning_rate",
    "load_run",
    "perplexity",
    "plot_comparison",
    "plot_history",
    "plot_learning_rate",
    "plot_loss",
    "plot_run",
    "read_checkpoint",
    "read_metrics",
    "resume_run",
    "start_run",
    "train_model",
    "train_step",
    "verify_checkpoint",
    "write_html_report",
]

_HOME = {
    "CALLBACKS": "callbacks",
    "EMA": "callbacks",
    "SWA": "callbacks",
    "ActivationStatistics": "callbacks",
    "AdamWConfig": "optimizer_config",
    "AdaptiveClipping": "callbacks",
    "BatchSearch": "finders",
    "BatchStream": "feed",
    "Callback": "callback",
    "CallbackList": "callback",
    "Checkpoint": "checkpoint",
    "CheckpointManager": "checkpoint_manager",
    "CheckpointStore": "checkpoint_store",
    "Checkpointing": "callbacks",
    "Comparison": "compare",
    "Contents": "checkpoint",
    "Control": "state",
    "CsvLogger": "callbacks",
    "DataConfig": "data_config",
    "Diagnosis": "diagnosis",
    "EarlyStopping": "callbacks",
    "EpochHistory": "by_epoch",
    "Estimate": "memory",
    "Evaluator": "evaluator",
    "GPTModelConfig": "model_config",
    "GenerationConfig": "generation_config",
    "Gradient": "step",
    "GradientStatistics": "callbacks",
    "Histograms": "callbacks",
    "Interrupted": "signals",
    "JsonlLogger": "callbacks",
    "LanguageModelTrainer": "epoch_trainers",
    "LearningRateMonitor": "callbacks",
    "LlamaModelConfig": "model_config",
    "LoadedRun": "run",
    "MLflowLogger": "callbacks",
    "MemoryShortage": "memory",
    "MetricsCollector": "collector",
    "MetricsWriter": "metrics",
    "ModelConfig": "model_config",
    "ModelWithLoss": "objective",
    "MultimodalTrainer": "multimodal",
    "NaNGuard": "callbacks",
    "OptimizerConfig": "optimizer_config",
    "PlateauWatch": "callbacks",
    "Plots": "callbacks",
    "ProgressTracker": "callbacks",
    "RateSearch": "finders",
    "Run": "run",
    "RunConfig": "config",
    "RunInfo": "callbacks",
    "RunResult": "report",
    "SampleGeneration": "callbacks",
    "SchedulerConfig": "optimizer_config",
    "ShardsConfig": "data_config",
    "SpikeGuard": "callbacks",
    "TensorBoardLogger": "callbacks",
    "Throughput": "callbacks",
    "TimeLimit": "callbacks",
    "TokenWindows": "evaluation",
    "TrainResult": "result",
    "Trainer": "trainer",
    "TrainerConfig": "config",
    "TrainerState": "state",
    "TrainingConfig": "config",
    "TrainingLoop": "loop",
    "TransformerTrainer": "epoch_trainers",
    "Update": "step",
    "Validation": "evaluation",
    "ValueClipping": "callbacks",
    "WandbLogger": "callbacks",
    "WeightStatistics": "callbacks",
    "accuracy": "objective",
    "compare_runs": "compare",
    "create_callbacks": "callbacks",
    "create_optimizer": ".optim",
    "create_scheduler": ".optim",
    "diagnose": "diagnosis",
    "estimate": "memory",
    "evaluate": "evaluation",
    "evaluate_run": "run",
    "find_batch_size": "finders",
    "find_learning_rate": "finders",
    "load_run": "run",
    "perplexity": "epoch_trainer",
    "plot_comparison": "compare",
    "plot_history": "history_plots",
    "plot_learning_rate": "plots",
    "plot_loss": "plots",
    "plot_run": "run",
    "read_checkpoint": "checkpoint",
    "read_metrics": "metrics",
    "resume_run": "run",
    "start_run": "run",
    "train_model": "epoch_trainers",
    "train_step": "step",
    "verify_checkpoint": "checkpoint",
    "write_html_report": "html_report",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # asked once only
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
