"""The sharpness as a metric of a training."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.losses import MeanSquaredError
from minitrain.nn import Linear
from minitrain.training import Sharpness, Trainer, TrainingConfig

rng = np.random.default_rng(4)
X = rng.standard_normal((12, 3)).astype(np.float32)
Y = rng.standard_normal((12, 1)).astype(np.float32)


def hessian_of_squares():
    """That of the mean of (x w + b - y)^2 by (w, b)."""
    ones = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    return 2 * ones.T @ ones / len(X)


def test_the_callback_adds_the_metric_at_its_steps():
    model = Linear(3, 1, np.random.default_rng(0))
    trainer = Trainer(
        model=model,
        train_data=[(X, Y)],
        val_data=[(X, Y)],
        loss_fn=MeanSquaredError(),
        callbacks=[Sharpness(every=2)],
        config=TrainingConfig(max_steps=4, log_every=3),
        progress=False,
    )
    history = trainer.train().history
    largest = np.linalg.eigvalsh(hessian_of_squares())[-1]
    assert history.get_steps("sharpness") == [2, 4]
    assert history.get_metric("sharpness") == pytest.approx([largest] * 2, rel=1e-2)
    assert history.get_metric("stable_lr") == pytest.approx([2 / largest] * 2, rel=1e-2)


def test_what_it_refuses():
    with pytest.raises(ConfigError, match=r"every=0 must be at least 1, tolerance=0\.01 between 0 and 1"):
        Sharpness(every=0)
    trainer = Trainer(
        model=Linear(3, 1, np.random.default_rng(0)),
        train_data=[(X, Y)],
        loss_fn=MeanSquaredError(),
        callbacks=[Sharpness()],
        config=TrainingConfig(max_steps=1),
        progress=False,
    )
    with pytest.raises(ConfigError, match="Sharpness needs a batch: give it one, or the trainer val_data"):
        trainer.train()
