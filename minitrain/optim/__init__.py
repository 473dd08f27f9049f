"""Optimizers, learning-rate schedules, clipping and averages of weights."""

from .adafactor import Adafactor, adafactor_update
from .adagrad import Adagrad, adagrad_update
from .adam import Adam, adam_update
from .adamw import AdamW
from .arithmetic import coupled_gradient, update_mean
from .average import ExponentialAverage, StochasticWeightAverage, WeightAverage
from .clip import Clip, clip_adaptive, clip_by_global_norm, clip_by_value, compute_grad_norm, sum_of_squares
from .factory import create_optimizer, create_scheduler
from .gradient_helpers import clip_gradients, zero_gradients
from .groups import Span, trainable_spans
from .lion import Lion, lion_update
from .muon import Muon, muon_update, newton_schulz
from .nadam import NAdam
from .optimizer import Optimizer
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
    "clip_adaptive",
    "clip_by_global_norm",
    "clip_by_value",
    "clip_gradients",
    "compute_grad_norm",
    "coupled_gradient",
    "create_optimizer",
    "create_scheduler",
    "lion_update",
    "muon_update",
    "newton_schulz",
    "plot_schedule",
    "rmsprop_update",
    "sgd_update",
    "sum_of_squares",
    "trainable_spans",
    "update_mean",
    "zero_gradients",
]
