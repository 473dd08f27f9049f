"""What every model's tests do: weights of ordinary size, gradients of micro-batches, the loss as a layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minitrain.nn import Module
from minitrain.random import Key

KEY = Key.from_seed(8)


def stir(module: Any, seed: int = 3) -> Any:
    """Weights of ordinary size: at small initial ones some gradients all but vanish."""
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        parameter.data[...] = 0.5 * rng.standard_normal(parameter.data.shape) + (parameter.data.ndim == 1)
    return module


def gradients_of(model: Any, batches: Iterable[Any], *, key: Key | None = None) -> dict[str, Any]:
    """The gradients of the summed losses of some micro-batches, one after another."""
    model.zero_grad()
    first = 0
    for batch in batches:
        _, cache = model.loss(batch, key=None if key is None else key.at_sample(first))
        model.loss_backward(cache)
        first += len(batch[0])
    return {path: parameter.grad.copy() for path, parameter in model.named_parameters()}


def assert_close(actual: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Equal up to ``tolerance`` times the largest element of each array."""
    assert actual.keys() == expected.keys()
    for path, value in expected.items():
        gap = abs(actual[path] - value).max()
        assert gap <= tolerance * max(1.0, abs(value).max()), f"{path} differs by {gap:.2e}"


class LossOf(Module):
    """``loss`` and ``loss_backward`` of a model on one batch as a layer without inputs, for ``check_module``."""

    def __init__(self, model: Any, batch: Any) -> None:
        self.model, self.batch = model, batch

    def forward(self, *, key: Key | None = None) -> Any:
        return self.model.loss(self.batch, key=key)

    def backward(self, dtotal: Any, cache: Any) -> None:
        self.model.loss_backward(cache, dtotal)
