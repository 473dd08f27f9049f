"""Training: a trainer and its parts, each with one responsibility and usable alone.

`Trainer` brings the parts together. `train_step` is one step as a function, for loops of your own. Callbacks are in
`minitrain.training.callbacks`.
"""

from .callback import Callback as Callback
from .callback import CallbackList as CallbackList
from .callbacks import CALLBACKS as CALLBACKS
from .callbacks import EMA as EMA
from .callbacks import SWA as SWA
from .callbacks import ActivationStatistics as ActivationStatistics
from .callbacks import AdaptiveClipping as AdaptiveClipping
from .callbacks import Checkpointing as Checkpointing
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
from .callbacks import ProgressTracker as ProgressTracker
from .callbacks import RunInfo as RunInfo
from .callbacks import SampleGeneration as SampleGeneration
from .callbacks import SpikeGuard as SpikeGuard
from .callbacks import TensorBoardLogger as TensorBoardLogger
from .callbacks import Throughput as Throughput
from .callbacks import TimeLimit as TimeLimit
from .callbacks import ValueClipping as ValueClipping
from .callbacks import WandbLogger as WandbLogger
from .callbacks import WeightStatistics as WeightStatistics
from .callbacks import create_callbacks as create_callbacks
from .callbacks.registry import register_callback as register_callback
from .config import TrainingConfig as TrainingConfig
from .evaluator import Evaluator as Evaluator
from .feed import BatchStream as BatchStream
from .loop import TrainingLoop as TrainingLoop
from .memory import Estimate as Estimate
from .memory import MemoryShortage as MemoryShortage
from .memory import estimate as estimate
from .objective import ModelWithLoss as ModelWithLoss
from .objective import accuracy as accuracy
from .result import TrainResult as TrainResult
from .signals import Interrupted as Interrupted
from .state import Control as Control
from .state import TrainerState as TrainerState
from .step import Gradient as Gradient
from .step import Update as Update
from .step import train_step as train_step
from .trainer import Trainer as Trainer
