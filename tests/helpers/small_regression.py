"""A model of one number, its data and its trainer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minitrain.losses import MeanSquaredError
from minitrain.nn import Linear, Module, Parameter
from minitrain.optim import SGD
from minitrain.training import Trainer, TrainingConfig


class Scale(Module):
    """A layer that minitrain does not know: ``out = x @ matrix * factor``."""

    def __init__(self) -> None:
        self.linear = Linear(3, 2, np.random.default_rng(0), dtype=np.float64)
        self.factor = Parameter(np.array([1.0, 2.0]))

    def forward(self, x: Any) -> Any:
        product, cache = self.linear.forward(x)
        return product * self.factor.data, (product, cache)

    def backward(self, dout: Any, cache: Any) -> Any:
        product, linear = cache
        self.factor.grad[...] += (dout * product).sum(axis=0)
        return self.linear.backward(dout * self.factor.data, linear)


def regression(batches: int = 5, size: int = 4, seed: int = 0) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((3, 2))
    xs = rng.standard_normal((batches, size, 3))
    return [(x, x @ weight) for x in xs]


def trainer(model: Any = None, data: Any = None, loss_fn: Any = None, **options: Any) -> Trainer:
    model = model or Scale()
    config = TrainingConfig(epochs=3, batch_size=4, max_grad_norm=None, **options.pop("config", {}))
    return Trainer(
        model=model,
        train_data=regression() if data is None else data,
        loss_fn=MeanSquaredError() if loss_fn is None else loss_fn,
        optimizer=SGD(model, lr=0.1),
        config=config,
        progress=False,
        **options,
    )
