"""Optimizers, learning-rate schedules, clipping and averages of weights."""

from .adafactor import Adafactor, adafactor_update
from .adagrad import Adagrad, adagrad_update
from .adam import Adam, adam_update
from .adamw import AdamW, adamw_update
from .average import ExponentialAverage, StochasticWeightAverage, WeightAverage
from .clip import Clip, clip_adaptive, clip_by_global_norm, clip_by_value, sum_of_squares
from .factory import create_optimizer, create_scheduler
from .groups import Span, trainable_spans
from .lion import Lion, lion_update
from .muon import Muon, muon_update, newton_schulz
from .nadam import NAdam, nadam_update
from .optimizer import Optimizer, coupled_gradient
from .plateau import ReduceOnPlateau
from .plot import plot_schedule
from .rmsprop import RMSprop, rmsprop_update
from .scheduler import (
    ConstantScheduler,
    CosineScheduler,
    ExponentialScheduler,
    Scheduler,
    StepScheduler,
    WarmupDecayScheduler,
)
from .schedules import (
    Constant,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    StepDecay,
    Warmup,
    WarmupCosine,
    WarmupStableDecay,
)
from .sgd import SGD, sgd_update

__all__ = [
    "SGD",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Clip",
    "Constant",
    "ConstantScheduler",
    "CosineRestarts",
    "CosineScheduler",
    "Exponential",
    "ExponentialAverage",
    "ExponentialScheduler",
    "InverseSqrt",
    "Linear",
    "Lion",
    "MultiStep",
    "Muon",
    "NAdam",
    "OneCycle",
    "Optimizer",
    "Polynomial",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "Scheduler",
    "Span",
    "StepDecay",
    "StepScheduler",
    "StochasticWeightAverage",
    "Warmup",
    "WarmupCosine",
    "WarmupDecayScheduler",
    "WarmupStableDecay",
    "WeightAverage",
    "adafactor_update",
    "adagrad_update",
    "adam_update",
    "adamw_update",
    "clip_adaptive",
    "clip_by_global_norm",
    "clip_by_value",
    "coupled_gradient",
    "create_optimizer",
    "create_scheduler",
    "lion_update",
    "muon_update",
    "nadam_update",
    "newton_schulz",
    "plot_schedule",
    "rmsprop_update",
    "sgd_update",
    "sum_of_squares",
    "trainable_spans",
]
