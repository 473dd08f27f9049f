"""Optimizers, learning-rate schedules, clipping and averages of weights."""

from .adafactor import Adafactor, adafactor_update
from .adagrad import Adagrad, adagrad_update
from .adam import Adam, adam_update
from .adamw import AdamW, adamw_update
from .average import ExponentialAverage, StochasticWeightAverage, WeightAverage
from .clip import Clip, clip_adaptive, clip_by_global_norm, clip_by_value, sum_of_squares
from .groups import Span, trainable_spans
from .lion import Lion, lion_update
from .muon import Muon, muon_update, newton_schulz
from .nadam import NAdam, nadam_update
from .optimizer import Optimizer, coupled_gradient
from .rmsprop import RMSprop, rmsprop_update
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
    "CosineRestarts",
    "Exponential",
    "ExponentialAverage",
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
    "Schedule",
    "Span",
    "StepDecay",
    "StochasticWeightAverage",
    "Warmup",
    "WarmupCosine",
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
    "lion_update",
    "muon_update",
    "nadam_update",
    "newton_schulz",
    "rmsprop_update",
    "sgd_update",
    "sum_of_squares",
    "trainable_spans",
]
