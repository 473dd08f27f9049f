"""Callbacks that come with minitrain.

Grouped by purpose: `control` stops, skips, clips and saves; `averaging` keeps averaged weights; `monitors` adds
to the records and shows the training; `loggers` writes the records to files and experiment trackers.
"""

from .averaging.ema import EMA as EMA
from .averaging.ema import SWA as SWA
from .control.checkpointing import Checkpointing as Checkpointing
from .control.clipping import AdaptiveClipping as AdaptiveClipping
from .control.clipping import ValueClipping as ValueClipping
from .control.early_stopping import EarlyStopping as EarlyStopping
from .control.early_stopping import TimeLimit as TimeLimit
from .control.guards import NaNGuard as NaNGuard
from .control.guards import SpikeGuard as SpikeGuard
from .control.plateau_watch import PlateauWatch as PlateauWatch
from .loggers.csv_logger import CsvLogger as CsvLogger
from .loggers.jsonl import JsonlLogger as JsonlLogger
from .loggers.mlflow import MLflowLogger as MLflowLogger
from .loggers.run_info import RunInfo as RunInfo
from .loggers.tensorboard import TensorBoardLogger as TensorBoardLogger
from .loggers.wandb import WandbLogger as WandbLogger
from .monitors.count_unwanted import CountUnwanted as CountUnwanted
from .monitors.curvature import Sharpness as Sharpness
from .monitors.plots import Plots as Plots
from .monitors.privacy_budget import PrivacyBudget as PrivacyBudget
from .monitors.progress_tracker import ProgressTracker as ProgressTracker
from .monitors.samples import SampleGeneration as SampleGeneration
from .monitors.statistics import ActivationStatistics as ActivationStatistics
from .monitors.statistics import GradientStatistics as GradientStatistics
from .monitors.statistics import Histograms as Histograms
from .monitors.statistics import LearningRateMonitor as LearningRateMonitor
from .monitors.statistics import WeightStatistics as WeightStatistics
from .monitors.throughput import Throughput as Throughput
from .registry import CALLBACKS as CALLBACKS
from .registry import create_callbacks as create_callbacks
