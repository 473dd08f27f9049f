"""Callbacks that come with minitrain, one file for each kind."""

from .checkpointing import Checkpointing
from .clipping import AdaptiveClipping, ValueClipping
from .csv_logger import CsvLogger
from .early_stopping import EarlyStopping, TimeLimit
from .ema import EMA, SWA
from .guards import NaNGuard, SpikeGuard
from .jsonl import JsonlLogger
from .mlflow import MLflowLogger
from .plateau_watch import PlateauWatch
from .plots import Plots
from .progress_tracker import ProgressTracker
from .registry import CALLBACKS, create_callbacks
from .run_info import RunInfo
from .samples import SampleGeneration
from .statistics import ActivationStatistics, GradientStatistics, Histograms, LearningRateMonitor, WeightStatistics
from .tensorboard import TensorBoardLogger
from .throughput import Throughput
from .wandb import WandbLogger

__all__ = [
    "CALLBACKS",
    "EMA",
    "SWA",
    "ActivationStatistics",
    "AdaptiveClipping",
    "Checkpointing",
    "CsvLogger",
    "EarlyStopping",
    "GradientStatistics",
    "Histograms",
    "JsonlLogger",
    "LearningRateMonitor",
    "MLflowLogger",
    "NaNGuard",
    "PlateauWatch",
    "Plots",
    "ProgressTracker",
    "RunInfo",
    "SampleGeneration",
    "SpikeGuard",
    "TensorBoardLogger",
    "Throughput",
    "TimeLimit",
    "ValueClipping",
    "WandbLogger",
    "WeightStatistics",
    "create_callbacks",
]
