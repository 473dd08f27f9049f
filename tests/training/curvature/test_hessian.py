"""Products with the Hessian of a loss: exact, symmetric, and the same as differences of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minitrain as mt
from minitrain.losses import CrossEntropyLoss, MeanSquaredError
from minitrain.models import Llama, LlamaConfig
from minitrain.nn import Linear
from minitrain.ops.second import NoSecondOrderError
from minitrain.training import HessianProducts, sharpness
from minitrain.training.objective import ModelWithLoss

rng = np.random.default_rng(4)
X = rng.standard_normal((12, 3)).astype(np.float32)
Y = rng.standard_normal((12, 1)).astype(np.float32)
TOKENS = rng.integers(0, 11, (3, 9)).astype(np.int32)
BATCH = (TOKENS[:, :-1], TOKENS[:, 1:])


def decoder(kind: str, **changes: Any) -> Any:
    """A small decoder whose weights are far from their beginning."""
    shape = {"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 8}
    model: Any = Llama(LlamaConfig(**shape)) if kind == "llama" else mt.GPT(mt.GPTConfig(**shape | changes))
    noise = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data += (0.2 * noise.standard_normal(parameter.data.shape)).astype(np.float32)
    return model


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
        np.testing.assert_allclose(products(v), expected @ v, rtol=1e-13, atol=1e-14)
    assert products.exact
    assert sharpness(products) == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-3)
    np.testing.assert_array_equal(model.weight.data, before)
    assert model.weight.data.dtype == np.float32
    np.testing.assert_array_equal(products(np.zeros(4)), 0)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gpt", {}),
        ("gpt", {"positions": "rotary", "gelu": "tanh", "bias": True}),
        ("gpt", {"positions": "alibi", "n_kv_head": 1, "loss_chunk": 4}),
        ("llama", {}),
    ],
    ids=["gpt", "gpt, rotary", "gpt, alibi, loss in chunks", "llama"],
)
def test_products_of_a_transformer_are_exact_and_symmetric(kind, changes):
    model = decoder(kind, **changes)
    products, differences = (HessianProducts(model, model, BATCH, exact=exact) for exact in (True, False))
    u, v = rng.standard_normal((2, products.size))
    found = products(v)
    assert u @ found == pytest.approx(v @ products(u), rel=1e-11)
    other = differences(v)
    assert np.linalg.norm(found - other) < 1e-4 * np.linalg.norm(other)
    assert np.linalg.norm(products.gradient() - differences.gradient()) == 0


def test_the_gradients_error_shrinks_by_the_product():
    """``g(w + t v) - g(w) - t H v`` is of second order in t, for an exact H alone."""
    model = decoder("gpt")
    at = HessianProducts(model, model, BATCH, exact=True)
    v = rng.standard_normal(at.size)
    product, rest = at(v), []
    for t in (1e-3, 1e-4):
        at._become(np.float64)
        at._move(t * v)
        rest.append(np.linalg.norm(at._gradient() - at.gradient() - t * product))
    assert rest[1] == pytest.approx(rest[0] / 100, rel=0.1)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh", "sigmoid"])
def test_the_hessian_of_a_network_is_symmetric_and_a_frozen_weight_is_no_variable(activation):
    model = mt.MLP(mt.MLPConfig(widths=(3, 4, 2), activation=activation), seed=0)
    objective = ModelWithLoss(model, CrossEntropyLoss())
    products = HessianProducts(model, objective, (X, np.arange(12) % 2))
    u, v = rng.standard_normal((2, products.size))
    assert u @ products(v) == pytest.approx(v @ products(u), rel=1e-11)
    assert products.exact
    next(iter(model.parameters())).trainable = False
    assert HessianProducts(model, objective, (X, np.arange(12) % 2)).size == products.size - 12


def test_two_weights_are_too_few_for_lanczos():
    model = Linear(1, 1, np.random.default_rng(0))
    x = X[:, :1]
    products = HessianProducts(model, ModelWithLoss(model, MeanSquaredError()), (x, Y))
    ones = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    assert sharpness(products) == pytest.approx(np.linalg.eigvalsh(2 * ones.T @ ones / len(x))[-1], rel=1e-6)


def hinge_like(outputs, targets):
    """A loss by minitrain's hinge operation, which has no second order."""
    from minitrain.ops import hinge_forward

    return hinge_forward(outputs[:, 0], targets)


def hinge_like_backward(dtotal, cache):
    from minitrain.ops import hinge_backward

    return hinge_backward(dtotal, cache)[0][:, None]


def test_an_operation_without_second_order_means_differences():
    model = Linear(3, 1, np.random.default_rng(0))
    objective = ModelWithLoss(model, (hinge_like, hinge_like_backward))
    batch = (X, np.where(Y[:, 0] > 0, 1, -1))
    products = HessianProducts(model, objective, batch)
    assert np.linalg.norm(products(np.ones(4))) < 1e-6
    assert products.exact is False
    assert products.reason.startswith("hinge has no backward of its backward")
    with pytest.raises(NoSecondOrderError, match="hinge has no backward of its backward"):
        HessianProducts(model, objective, batch, exact=True)(np.ones(4))


def test_a_model_that_loses_the_direction_is_noticed():
    class Careless(Linear):
        def forward(self, x, *, key=None):
            return super().forward(abs(x), key=key)

    model = mt.MLP(mt.MLPConfig(widths=(3, 4, 2), activation="tanh"), seed=0)
    model.layers[1] = Careless(4, 2, np.random.default_rng(0), std=1.0)
    products = HessianProducts(model, model, (X, np.arange(12) % 2))
    products(rng.standard_normal(products.size))
    assert products.exact is False
    assert products.reason.startswith("the model loses the direction")
