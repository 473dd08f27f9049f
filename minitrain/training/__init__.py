"""Training: a trainer and its parts, each with one responsibility and usable alone.

`Trainer` brings the parts together. `train_step` is one step as a function, for loops of your own. What users look for
beside a trainer (checkpoint manager, history, factories) can be imported from here too.
"""

from ..checkpoint import CheckpointManager as CheckpointManager
from ..checkpoint import CheckpointStore as CheckpointStore
from ..measures import accuracy as accuracy
from ..optim import create_optimizer as create_optimizer
from ..optim import create_scheduler as create_scheduler
from ..records import MetricsCollector as MetricsCollector
from .callbacks import CALLBACKS as CALLBACKS
from .callbacks import EMA as EMA
from .callbacks import SWA as SWA
from .callbacks import ActivationStatistics as ActivationStatistics
from .callbacks import AdaptiveClipping as AdaptiveClipping
from .callbacks import Checkpointing as Checkpointing
from .callbacks import CountUnwanted as CountUnwanted
from .callbacks import CsvLogger as CsvLogger
from .callbacks import EarlyStopping as EarlyStopping
from .callbacks import GradientStatistics as GradientStatistics
from .callbacks import Histograms as Histograms
from .callbacks import JsonlLogger as JsonlLogger
from .callbacks import LearningRateMonitor as LearningRateMonitor
from .callbacks import MLflowLogger as MLflowLogger
from .callbacks import NaNGuard as NaNGuard
from .callbacks import PlateauWatch as PlateauWatch
from .callbacks import Plots as Plots
from .callbacks import PrivacyBudget as PrivacyBudget
from .callbacks import ProgressTracker as ProgressTracker
from .callbacks import RunInfo as RunInfo
from .callbacks import SampleGeneration as SampleGeneration
from .callbacks import Sharpness as Sharpness
from .callbacks import SpikeGuard as SpikeGuard
from .callbacks import TensorBoardLogger as TensorBoardLogger
from .callbacks import Throughput as Throughput
from .callbacks import TimeLimit as TimeLimit
from .callbacks import ValueClipping as ValueClipping
from .callbacks import WandbLogger as WandbLogger
from .callbacks import WeightStatistics as WeightStatistics
from .callbacks import create_callbacks as create_callbacks
from .callbacks.base import Callback as Callback
from .callbacks.base import CallbackList as CallbackList
from .callbacks.registry import register_callback as register_callback
from .config import TrainingConfig as TrainingConfig
from .curvature import HessianProducts as HessianProducts
from .curvature import sharpness as sharpness
from .evaluator import Evaluator as Evaluator
from .feed import BatchStream as BatchStream
from .loop import TrainingLoop as TrainingLoop
from .loss_scale import Arithmetic as Arithmetic
from .loss_scale import LossScale as LossScale
from .memory import Estimate as Estimate
from .memory import MemoryShortage as MemoryShortage
from .memory import estimate as estimate
from .objective import ModelWithLoss as ModelWithLoss
from .privacy import DPSGD as DPSGD
from .privacy import PrivateGradients as PrivateGradients
from .privacy import PrivateStep as PrivateStep
from .privacy import create_privacy as create_privacy
from .privacy import epsilon_of as epsilon_of
from .privacy import quick_epsilon_of as quick_epsilon_of
from .result import TrainResult as TrainResult
from .setup import EvaluationWeights as EvaluationWeights
from .setup import RunContext as RunContext
from .setup import Setup as Setup
from .setup import StepView as StepView
from .signals import Interrupted as Interrupted
from .state import Control as Control
from .state import Gradient as Gradient
from .state import TrainerState as TrainerState
from .state import Update as Update
from .steps.plain import train_step as train_step
from .trainer import Trainer as Trainer

_MOVED = {
    "checkpoint": "Checkpoint Contents read_checkpoint verify_checkpoint",
    "plotting": "plot_history plot_learning_rate plot_loss",
    "probes": "BatchSearch RateSearch find_batch_size find_learning_rate",
    "records": "Diagnosis MetricsWriter diagnose read_metrics",
    "reports": "write_html_report",
    "runs": "Comparison DataConfig GPTModelConfig GenerationConfig LlamaModelConfig LoadedRun ModelConfig "
    "OptimizerConfig Run RunConfig RunResult SchedulerConfig ShardsConfig TokenWindows Validation compare_runs "
    "evaluate evaluate_run load_run plot_comparison plot_run resume_run start_run",
    "trainers": "EpochHistory LanguageModelTrainer MultimodalTrainer TransformerTrainer perplexity train_model",
}
"""Names that were here in version 0.1, by the package where they are now."""


def __getattr__(name: str) -> object:
    for package, names in _MOVED.items():
        if name in names.split():
            raise AttributeError(f"minitrain.training.{name} is now minitrain.{package}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
