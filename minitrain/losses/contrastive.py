"""Contrastive losses with fixed settings; ``ClipLoss`` and ``SiglipLoss`` in ``minitrain.nn`` learn theirs.

They compare each sample of a batch with all others, so splitting a batch into micro-batches changes the loss and the
gradient. ``gradient_caching`` splits the encoders' work and keeps the gradient.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend.arrays import Array, array_module
from ..errors import ConfigError
from ..ops.contract.loss import Loss
from ..ops.contract.op import SKIP
from ..ops.contrastive.info_nce import info_nce_backward, info_nce_forward
from ..ops.contrastive.siglip import siglip_backward, siglip_forward
from ..ops.contrastive.supervised_contrastive import supervised_contrastive_backward, supervised_contrastive_forward
from .base import LossCache, LossFunction, Reduced


class InfoNCELoss(Reduced):
    """Symmetric InfoNCE: each row of one set of features (N, C) should be nearest to the same row of the other set.

    Args:
        temperature: divisor of the cosines, above 0.
        reduction: see ``Reduced``; there is one loss per pair.
    """

    def __init__(self, temperature: float = 0.07, reduction: str | None = None) -> None:
        super().__init__(reduction, temperature=temperature)
        self.temperature = _positive(self, temperature)

    def forward(self, image: Array, text: Array, groups: Array | None = None) -> tuple[Any, LossCache]:
        """Compute the loss of features (N, C) of any length, reduced as the reduction says, and the cache.

        Pairs with the same number in ``groups`` (N,) are no negatives of each other.
        """
        log_scale = _number(-math.log(self.temperature), image)
        return self.reduce(*info_nce_forward(image, text, log_scale, groups, limit=math.inf, each=self.each))

    def backward(self, dloss: Any, cache: LossCache) -> tuple[Array, Array]:
        """Map dloss to dimage and dtext (N, C)."""
        return info_nce_backward(cache.scaled(dloss), cache.operation, into=(None, None, SKIP, None))[:2]


class SigmoidContrastiveLoss(Reduced):
    """SigLIP's loss: a binary classification of each of the N^2 pairs of rows of two sets of features (N, C).

    Args:
        temperature: divisor of the cosines, above 0.
        bias: log-odds of a match between orthogonal features.
        reduction: see ``Reduced``; there is one loss per image, over all texts.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0, reduction: str | None = None) -> None:
        super().__init__(reduction, temperature=temperature, bias=bias)
        self.temperature = _positive(self, temperature)
        self.bias = bias

    def forward(self, image: Array, text: Array, groups: Array | None = None) -> tuple[Any, LossCache]:
        """Compute the loss of features (N, C) of any length, reduced as the reduction says, and the cache.

        Nothing is asked about wrong partners with the same number in ``groups`` (N,).
        """
        log_scale, bias = _number(-math.log(self.temperature), image), _number(self.bias, image)
        return self.reduce(*siglip_forward(image, text, log_scale, bias, groups, each=self.each))

    def backward(self, dloss: Any, cache: LossCache) -> tuple[Array, Array]:
        """Map dloss to dimage and dtext (N, C)."""
        return siglip_backward(cache.scaled(dloss), cache.operation, into=(None, None, SKIP, SKIP, None))[:2]


class SupervisedContrastiveLoss(LossFunction):
    """Pulls features (N, C) with the same label (N,) together (Khosla et al., 2020, arXiv:2004.11362).

    Args:
        temperature: divisor of the cosines, above 0.
        reduction: see ``Reduced``; the count of the mean is the number of samples with another of their class.

    Attributes:
        compares_samples: tells a trainer that the loss is that of a whole batch and not of its micro-batches.
    """

    compares_samples = True

    def __init__(self, temperature: float = 0.07, reduction: str | None = None) -> None:
        super().__init__(reduction, temperature=temperature)
        self.temperature = _positive(self, temperature)

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        return supervised_contrastive_forward(outputs, targets, temperature=self.temperature, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return supervised_contrastive_backward(dtotal, cache)[0]


def _positive(owner: Any, temperature: float) -> float:
    if not temperature > 0:
        raise ConfigError(f"{type(owner).__name__}: temperature={temperature} must be positive")
    return temperature


def _number(value: float, like: Array) -> Array:
    """A number as an array () of the dtype and on the device of ``like``."""
    return array_module(like).asarray(value, dtype=like.dtype)  # type: ignore[no-any-return]
