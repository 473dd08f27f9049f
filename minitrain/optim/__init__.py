"""Optimizers, learning-rate schedules and clipping."""

from .adamw import AdamW, adamw_update
from .clip import Clip, clip_by_global_norm, sum_of_squares
from .groups import Span, trainable_spans
from .optimizer import Optimizer
from .schedules import Constant, WarmupCosine

__all__ = [
    "AdamW",
    "Clip",
    "Constant",
    "Optimizer",
    "Span",
    "WarmupCosine",
    "adamw_update",
    "clip_by_global_norm",
    "sum_of_squares",
    "trainable_spans",
]
