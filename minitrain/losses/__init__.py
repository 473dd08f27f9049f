"""Losses as objects with settings: thin and stateless, over the operations of ``minitrain.ops``."""

from .base import REDUCTIONS, LossCache, LossFunction, Reduced
from .classification import (
    BinaryCrossEntropyLoss,
    BinaryFocalLoss,
    CrossEntropyLoss,
    FocalLoss,
    HingeLoss,
    LabelSmoothing,
)
from .contrastive import InfoNCELoss, SigmoidContrastiveLoss, SupervisedContrastiveLoss
from .distribution import KLDivergenceLoss
from .embedding import TripletLoss
from .gradient_caching import gradient_caching
from .linear_cross_entropy import LinearCrossEntropy
from .regression import HuberLoss, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "REDUCTIONS",
    "BinaryCrossEntropyLoss",
    "BinaryFocalLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "HingeLoss",
    "HuberLoss",
    "InfoNCELoss",
    "KLDivergenceLoss",
    "LabelSmoothing",
    "LinearCrossEntropy",
    "LossCache",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Reduced",
    "SigmoidContrastiveLoss",
    "SupervisedContrastiveLoss",
    "TripletLoss",
    "gradient_caching",
]
