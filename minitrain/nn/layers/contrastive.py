"""Contrastive losses with learned parameters: a temperature, and for SigLIP a bias.

A loss with parameters is a layer, so the optimizer, ``pack`` and checkpoints find its parameters. ``minitrain.losses``
has the same losses without parameters. Both compare the samples of a batch with each other, see ``ops.info_nce``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...ops.contract.loss import Loss
from ...ops.contrastive.info_nce import InfoNCECache, info_nce_backward, info_nce_forward
from ...ops.contrastive.siglip import SiglipCache, siglip_backward, siglip_forward
from ..core.module import Module
from ..core.parameter import Parameter
from .temperature import Temperature


class ClipLoss(Module):
    """Symmetric InfoNCE with a learned temperature (Radford et al., 2021, arXiv:2103.00020).

    Args:
        initial: initial factor of the cosines, one over the temperature.
        limit: the largest factor; each update is clipped to it, as in the authors' code.
        dtype: dtype of the parameter.

    Attributes:
        temperature: the learned factor.
    """

    def __init__(self, initial: float = 1 / 0.07, *, limit: float = 100.0, dtype: Any = np.float32) -> None:
        self.temperature = Temperature(initial, limit=limit, dtype=dtype)

    def forward(self, image: Array, text: Array, groups: Array | None = None) -> tuple[Loss, InfoNCECache]:
        """The loss of features (N, C) of any length; row i of both is a pair.

        Pairs with the same number in ``groups`` (N,) are no negatives of each other.
        """
        return info_nce_forward(image, text, self.temperature.log_scale.data, groups, limit=self.temperature.limit)

    def backward(self, dtotal: Any, cache: InfoNCECache) -> tuple[Array, Array]:
        """Map dtotal () to dimage and dtext (N, C)."""
        into = (None, None, self.temperature.log_scale.into(), None)
        return info_nce_backward(dtotal, cache, into=into)[:2]


class SiglipLoss(Module):
    """The sigmoid loss with a learned temperature and bias (Zhai et al., 2023, arXiv:2303.15343).

    Args:
        initial: initial factor of the cosines.
        bias: initial log-odds that an image and a text belong together; most do not.
        dtype: dtype of the parameters.

    Attributes:
        temperature: the learned factor, without a limit.
        bias: () learned.
    """

    def __init__(self, initial: float = 10.0, *, bias: float = -10.0, dtype: Any = np.float32) -> None:
        self.temperature = Temperature(initial, limit=math.inf, dtype=dtype)
        self.bias = Parameter(np.array(bias, dtype))

    def forward(self, image: Array, text: Array, groups: Array | None = None) -> tuple[Loss, SiglipCache]:
        """The loss of features (N, C) of any length; row i of both is a pair.

        Nothing is asked about wrong partners with the same number in ``groups`` (N,).
        """
        return siglip_forward(image, text, self.temperature.log_scale.data, self.bias.data, groups)

    def backward(self, dtotal: Any, cache: SiglipCache) -> tuple[Array, Array]:
        """Map dtotal () to dimage and dtext (N, C)."""
        into = (None, None, self.temperature.log_scale.into(), self.bias.into(), None)
        return siglip_backward(dtotal, cache, into=into)[:2]
