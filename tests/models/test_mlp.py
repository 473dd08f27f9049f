"""The multi-layer perceptron, and Karpathy's micrograd run on two moons, to the last digits."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest

from minitrain.data import Batch
from minitrain.errors import ConfigError
from minitrain.models.mlp import ACTIVATIONS, MLP, MLPConfig
from minitrain.nn import pack
from minitrain.ops import hinge_backward, hinge_forward
from minitrain.optim import SGD, AdamW
from minitrain.testing import check_module
from minitrain.training import train_step
from tests.helpers.model_checks import LossOf, assert_close, gradients_of, stir

X = np.random.default_rng(0).standard_normal((5, 3))


def test_micrograd_moons():
    """github.com/karpathy/micrograd, demo.ipynb: the loss of the first and of the last of 100 steps.

    A 2-16-16-1 ReLU network under the SVM loss mean(relu(1 - y score)) + 1e-4 sum(p^2), full batches of 100 points,
    plain gradient descent with a rate that falls linearly from 1 to 0.1. Weights are drawn neuron by neuron.
    """
    from sklearn import datasets

    np.random.seed(1337)  # noqa: NPY002  the demo's own generator: make_moons draws from it
    random.seed(1337)
    points, sides = datasets.make_moons(n_samples=100, noise=0.1)
    sides = 2 * sides - 1
    model = MLP(MLPConfig((2, 16, 16, 1)), dtype=np.float64)
    for layer in model.layers:
        N, K = layer.weight.data.shape
        layer.weight.data[...] = [[random.uniform(-1, 1) for _ in range(K)] for _ in range(N)]
    pack(model)
    optimizer = SGD(model, lr=1.0)
    decay, curve = 1e-4, []
    for step in range(100):
        scores, cache = model.forward(points)
        loss, hinge = hinge_forward(scores[:, 0], sides)
        curve.append(loss.mean + decay * sum((p.data**2).sum() for p in model.parameters()))
        optimizer.zero_grad()
        dscores, _ = hinge_backward(1 / loss.count, hinge)
        model.backward(dscores[:, None], cache)  # (B,) -> (B, 1)
        for p in model.parameters():  # the penalty reaches the biases too, unlike the optimizer's weight decay
            p.grad[...] += 2 * decay * p.data
        optimizer.set_lr(1.0 - 0.9 * step / 100)
        optimizer.step()
    assert curve[0] == pytest.approx(0.8958441028683222, abs=1e-12)
    assert curve[99] == pytest.approx(0.010978370135492717, abs=1e-12)
    assert ((scores[:, 0] > 0) == (sides > 0)).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients(activation):
    model = stir(MLP(MLPConfig((3, 4, 6, 2), activation)))
    report = check_module(model, X)
    assert {argument.name for argument in report.arguments} == {"x"} | dict(model.named_parameters()).keys()


@pytest.mark.parametrize(
    ("task", "targets"),
    [("classification", np.array([0, 1, -100, 1, 0])), ("regression", np.linspace(-1, 1, 10).reshape(5, 2))],
)
def test_gradients_of_the_loss(task, targets):
    model = stir(MLP(MLPConfig((3, 4, 2), "tanh", task), dtype=np.float64))
    report = check_module(LossOf(model, Batch(X, targets)))
    assert len(report.arguments) == len(model.parameters())


def test_without_hidden_layers_it_is_linear():
    model = stir(MLP(MLPConfig((3, 2)), dtype=np.float64))
    weight, bias = model.layers[0].weight.data, model.layers[0].bias.data
    np.testing.assert_allclose(model.forward(X)[0], X @ weight.T + bias, rtol=1e-14)


def test_regression_finds_least_squares():
    """A linear model's minimum is known in closed form."""
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((40, 3))
    targets = inputs @ rng.standard_normal((3, 1)) + 0.3 * rng.standard_normal((40, 1)) + 2
    model = MLP(MLPConfig((3, 1), task="regression"), dtype=np.float64)
    optimizer = SGD(model, lr=0.1)
    for _ in range(400):
        train_step(model, optimizer, [(0, SimpleNamespace(inputs=inputs, targets=targets))], lr=0.1)
    design = np.column_stack([inputs, np.ones(40)])
    best = np.linalg.lstsq(design, targets[:, 0], rcond=None)[0]
    np.testing.assert_allclose(model.layers[0].weight.data[0], best[:3], atol=1e-6)
    np.testing.assert_allclose(model.layers[0].bias.data, best[3:], atol=1e-6)


@pytest.mark.parametrize("classes", [2, 10, 500])
def test_the_first_loss_is_that_of_guessing(classes):
    inputs = np.random.default_rng(3).standard_normal((200, 16)).astype(np.float32)
    loss, _ = MLP(MLPConfig((16, 64, 64, classes))).loss(Batch(inputs, np.arange(200) % classes))
    assert loss.mean == pytest.approx(math.log(classes), abs=0.05)


def test_the_signal_keeps_its_size_through_many_layers():
    inputs = np.random.default_rng(4).standard_normal((200, 64)).astype(np.float32)
    _, cache = MLP(MLPConfig((64,) * 12)).forward(inputs)
    deepest = cache.layers[-1].x
    assert 0.3 < (deepest**2).mean() < 3


def test_memorises_random_labels():
    rng = np.random.default_rng(5)
    batch = Batch(rng.standard_normal((16, 4)).astype(np.float32), rng.integers(0, 3, 16))
    model = MLP(MLPConfig((4, 64, 3)), seed=1)
    pack(model)
    optimizer = AdamW(model, weight_decay=0.0)
    for _ in range(150):
        update = train_step(model, optimizer, [(0, batch)], lr=0.02)
    assert update.loss / 16 < 0.05
    np.testing.assert_array_equal(model.forward(batch.inputs)[0].argmax(-1), batch.targets)


def test_any_split_of_a_batch_gives_its_gradient():
    model, targets = stir(MLP(MLPConfig((3, 4, 2)))), np.array([0, 1, 1, 0, 1])
    inputs = X.astype(np.float32)
    parts = [Batch(inputs[:2], targets[:2]), Batch(inputs[2:], targets[2:])]
    assert_close(gradients_of(model, parts), gradients_of(model, [Batch(inputs, targets)]), 1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (3,)}, r"widths = \(3,\): give the widths of input and output"),
        ({"widths": (3, 0, 2)}, r"widths = \(3, 0, 2\): each must be 1 or more"),
        ({"widths": (3, 2), "activation": "rely"}, "activation = 'rely': did you mean 'relu'"),
        ({"widths": (3, 2), "task": "ranking"}, "task = 'ranking': use one of 'classification', 'regression'"),
    ],
)
def test_bad_settings_are_explained(settings, message):
    with pytest.raises(ConfigError, match=message):
        MLPConfig(**settings)
