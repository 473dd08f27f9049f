"""Optimizers, learning-rate schedules and clipping."""

from .adamw import AdamW, adamw_update
from .clip import Clip, clip_by_global_norm, sum_of_squares
from .groups import Span, trainable_spans
from .optimizer import Optimizer
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

__all__ = [
    "AdamW",
    "Clip",
    "Constant",
    "CosineRestarts",
    "Exponential",
    "InverseSqrt",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Optimizer",
    "Polynomial",
    "Schedule",
    "Span",
    "StepDecay",
    "Warmup",
    "WarmupCosine",
    "WarmupStableDecay",
    "adamw_update",
    "clip_by_global_norm",
    "sum_of_squares",
    "trainable_spans",
]
