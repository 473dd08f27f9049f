"""Callbacks that come with minitrain, one file for each kind."""

from .checkpointing import Checkpointing
from .clipping import AdaptiveClipping, ValueClipping
from .early_stopping import EarlyStopping, TimeLimit
from .ema import EMA, SWA
from .guards import NaNGuard, SpikeGuard
from .jsonl import JsonlLogger
from .plateau_watch import PlateauWatch
from .progress_tracker import ProgressTracker
from .statistics import ActivationStatistics, GradientStatistics, Histograms, LearningRateMonitor, WeightStatistics

__all__ = [
    "EMA",
    "SWA",
    "ActivationStatistics",
    "AdaptiveClipping",
    "Checkpointing",
    "EarlyStopping",
    "GradientStatistics",
    "Histograms",
    "JsonlLogger",
    "LearningRateMonitor",
    "NaNGuard",
    "PlateauWatch",
    "ProgressTracker",
    "SpikeGuard",
    "TimeLimit",
    "ValueClipping",
    "WeightStatistics",
]
