"""Losses as objects with settings: thin and stateless, over the operations of ``minitrain.ops``."""

from .base import REDUCTIONS as REDUCTIONS
from .base import LossCache as LossCache
from .base import LossFunction as LossFunction
from .base import Reduced as Reduced
from .classification import BinaryCrossEntropyLoss as BinaryCrossEntropyLoss
from .classification import BinaryFocalLoss as BinaryFocalLoss
from .classification import CrossEntropyLoss as CrossEntropyLoss
from .classification import FocalLoss as FocalLoss
from .classification import HingeLoss as HingeLoss
from .classification import LabelSmoothing as LabelSmoothing
from .contrastive import InfoNCELoss as InfoNCELoss
from .contrastive import SigmoidContrastiveLoss as SigmoidContrastiveLoss
from .contrastive import SupervisedContrastiveLoss as SupervisedContrastiveLoss
from .distribution import KLDivergenceLoss as KLDivergenceLoss
from .embedding import TripletLoss as TripletLoss
from .gradient_caching import gradient_caching as gradient_caching
from .linear_cross_entropy import LinearCrossEntropy as LinearCrossEntropy
from .regression import HuberLoss as HuberLoss
from .regression import MeanAbsoluteError as MeanAbsoluteError
from .regression import MeanSquaredError as MeanSquaredError
from .unlikelihood import UnlikelihoodLoss as UnlikelihoodLoss
from .unlikelihood import as_unwanted as as_unwanted
