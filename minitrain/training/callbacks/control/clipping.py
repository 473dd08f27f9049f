"""Clipping of gradients by other measures than their global norm, which is the setting ``max_grad_norm``.

Both come after the global norm was measured, and in addition to it; ``max_grad_norm=None`` leaves them alone.
"""

from __future__ import annotations

from typing import Any

from ....optim import clip_adaptive, clip_by_value
from ...setup import RunContext, Setup, StepView
from ...state import Gradient
from ..base import Callback


class AdaptiveClipping(Callback):
    """Limits gradients to a part of the size of their own weights (`clip_adaptive`; Brock et al., arXiv:2102.06171).

    Args:
        max_ratio: the limit of gradient over weight, for each row of a matrix.
        eps: weights count as at least this long.
        match: which parameters to clip: a pattern of paths, or a function of path and parameter.
    """

    def __init__(self, max_ratio: float = 0.01, eps: float = 1e-3, match: Any = "*") -> None:
        self.max_ratio, self.eps, self.match = max_ratio, eps, match
        self._model: Any = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the model."""
        self._model = setup.model

    def on_before_optimizer_step(self, view: StepView, gradient: Gradient) -> None:
        """Clip the mean gradient, in place."""
        clip_adaptive(self._model, self.max_ratio, eps=self.eps, match=self.match, count=gradient.loss.count)


class ValueClipping(Callback):
    """Limits every element of the mean gradient to ``[-max_value, max_value]`` (`clip_by_value`).

    Args:
        max_value: the limit.
    """

    def __init__(self, max_value: float = 1.0) -> None:
        self.max_value = max_value
        self._model: Any = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Keep the model."""
        self._model = setup.model

    def on_before_optimizer_step(self, view: StepView, gradient: Gradient) -> None:
        """Clip the mean gradient, in place."""
        clip_by_value(self._model, self.max_value, count=gradient.loss.count)
