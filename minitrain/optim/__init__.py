"""Optimizers, learning-rate schedules, clipping, and averages of weights."""

from .arithmetic import coupled_gradient, update_mean
from .average import ExponentialAverage, StochasticWeightAverage, WeightAverage
from .clip import Clip, clip_adaptive, clip_by_global_norm, clip_by_value, compute_grad_norm, sum_of_squares
from .factory import create_optimizer, create_scheduler
from .gradient_helpers import clip_gradients, zero_gradients
from .groups import Span, trainable_spans
from .optimizer import Optimizer
from .registry import register_optimizer, register_schedule
from .rules.adafactor import Adafactor, adafactor_update
from .rules.adagrad import Adagrad, adagrad_update
from .rules.adam import Adam, adam_update
from .rules.adamw import AdamW
from .rules.lion import Lion, lion_update
from .rules.muon import Muon, muon_update, newton_schulz
from .rules.nadam import NAdam
from .rules.rmsprop import RMSprop, rmsprop_update
from .rules.sgd import SGD, sgd_update
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
from .schedules.plateau import ReduceOnPlateau
from .schedules.plot import plot_schedule
from .schedules.scheduler import (
    ConstantScheduler,
    CosineScheduler,
    ExponentialScheduler,
    Scheduler,
    StepScheduler,
    WarmupDecayScheduler,
)

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
    "register_optimizer",
    "register_schedule",
    "rmsprop_update",
    "sgd_update",
    "sum_of_squares",
    "trainable_spans",
    "update_mean",
    "zero_gradients",
]
