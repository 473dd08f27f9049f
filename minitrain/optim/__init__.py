"""Optimizers, learning-rate schedules, clipping and averages of weights."""

from .adagrad import Adagrad, adagrad_update
from .adam import Adam, adam_update
from .adamw import AdamW, adamw_update
from .average import ExponentialAverage
from .clip import Clip, clip_by_global_norm, clip_by_value, sum_of_squares
from .groups import Span, trainable_spans
from .lion import Lion, lion_update
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
    "NAdam",
    "OneCycle",
    "Optimizer",
    "Polynomial",
    "RMSprop",
    "Schedule",
    "Span",
    "StepDecay",
    "Warmup",
    "WarmupCosine",
    "WarmupStableDecay",
    "adagrad_update",
    "adam_update",
    "adamw_update",
    "clip_by_global_norm",
    "clip_by_value",
    "coupled_gradient",
    "lion_update",
    "nadam_update",
    "rmsprop_update",
    "sgd_update",
    "sum_of_squares",
    "trainable_spans",
]
