"""Products with the Hessian, and the sharpness as a metric."""

from __future__ import annotations

import numpy as np
import pytest

import minitrain as mt
from minitrain.errors import ConfigError
from minitrain.losses import CrossEntropyLoss, MeanSquaredError
from minitrain.nn import Linear
from minitrain.training import HessianProducts, Sharpness, Trainer, TrainingConfig, sharpness
from minitrain.training.objective import ModelWithLoss

rng = np.random.default_rng(4)
X = rng.standard_normal((12, 3)).astype(np.float32)
Y = rng.standard_normal((12, 1)).astype(np.float32)


def hessian_of_squares():
    """That of the mean of (x w + b - y)^2 by (w, b)."""
    ones = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    return 2 * ones.T @ ones / len(X)


def test_products_and_sharpness_of_a_quadratic_are_exact():
    model = Linear(3, 1, np.random.default_rng(0))
    before = model.weight.data.copy()
    products = HessianProducts(model, ModelWithLoss(model, MeanSquaredError()), (X, Y))
    expected = hessian_of_squares()
    assert products.size == 4
    for v in np.eye(4):
        np.testing.assert_allclose(products(v), expected @ v, rtol=1e-6, atol=1e-8)
    assert sharpness(products) == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-3)
    np.testing.assert_array_equal(model.weight.data, before)
    assert model.weight.data.dtype == np.float32
    np.testing.assert_array_equal(products(np.zeros(4)), 0)


def test_the_hessian_of_a_network_is_symmetric_and_a_frozen_weight_is_no_variable():
    model = mt.MLP(mt.MLPConfig(widths=(3, 4, 2)), seed=0)
    objective = ModelWithLoss(model, CrossEntropyLoss())
    products = HessianProducts(model, objective, (X, np.arange(12) % 2))
    u, v = rng.standard_normal((2, products.size))
    assert u @ products(v) == pytest.approx(v @ products(u), rel=1e-5)
    next(iter(model.parameters())).trainable = False
    assert HessianProducts(model, objective, (X, np.arange(12) % 2)).size == products.size - 12


def test_two_weights_are_too_few_for_lanczos():
    model = Linear(1, 1, np.random.default_rng(0))
    x = X[:, :1]
    products = HessianProducts(model, ModelWithLoss(model, MeanSquaredError()), (x, Y))
    ones = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    assert sharpness(products) == pytest.approx(np.linalg.eigvalsh(2 * ones.T @ ones / len(x))[-1], rel=1e-6)


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
