"""Every optimizer against its algorithm, written out for one number at a time in Python's own arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.nn import Module, Parameter
from minitrain.optim import SGD, Adagrad, Adam, AdamW, Lion, NAdam, RMSprop

STEPS = 12
SCALE = 0.5  # of the gradients
DECAY = 0.3


class Weights(Module):
    """A matrix, which decays, and a vector, which does not."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.matrix = Parameter(rng.standard_normal((2, 3)))
        self.vector = Parameter(rng.standard_normal(3))


# Each takes the weight w, its gradient g, the decay, the rate, the number t of the step from 1, and a dictionary of
# what it remembers of this weight, by the name of the optimizer's moment; it returns the new weight.


def sgd(w, g, decay, lr, t, memory):
    return w - lr * (g + decay * w)


def sgd_momentum(w, g, decay, lr, t, memory):
    g += decay * w
    memory["momentum_buffer"] = g if t == 1 else 0.9 * memory["momentum_buffer"] + (1 - 0.25) * g
    return w - lr * memory["momentum_buffer"]


def sgd_nesterov(w, g, decay, lr, t, memory):
    g += decay * w
    memory["momentum_buffer"] = g if t == 1 else 0.9 * memory["momentum_buffer"] + g
    return w - lr * (g + 0.9 * memory["momentum_buffer"])


def moments(memory, g):
    """The two moments of the Adam family, beta1 = 0.8 and beta2 = 0.95."""
    memory["exp_avg"] = 0.8 * memory.get("exp_avg", 0) + (1 - 0.8) * g
    memory["exp_avg_sq"] = 0.95 * memory.get("exp_avg_sq", 0) + (1 - 0.95) * g**2
    return memory["exp_avg"], memory["exp_avg_sq"]


def adam(w, g, decay, lr, t, memory):
    m, v = moments(memory, g + decay * w)
    return w - lr * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.95**t)) + 0.1)


def adamw(w, g, decay, lr, t, memory):
    m, v = moments(memory, g)
    w -= lr * decay * w
    return w - lr * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.95**t)) + 0.1)


def nadam(w, g, decay, lr, t, memory):
    g += decay * w
    m, v = moments(memory, g)

    def mu(i):
        return 0.8 * (1 - 0.5 * 0.96 ** (i * 0.5))

    product = math.prod(mu(i) for i in range(1, t + 1))
    mhat = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    return w - lr * mhat / (math.sqrt(v / (1 - 0.95**t)) + 0.1)


def rmsprop(w, g, decay, lr, t, memory):
    g += decay * w
    memory["square_avg"] = 0.9 * memory.get("square_avg", 0) + (1 - 0.9) * g**2
    return w - lr * g / (math.sqrt(memory["square_avg"]) + 0.1)


def rmsprop_centered_momentum(w, g, decay, lr, t, memory):
    g += decay * w
    memory["square_avg"] = v = 0.9 * memory.get("square_avg", 0) + (1 - 0.9) * g**2
    memory["grad_avg"] = a = 0.9 * memory.get("grad_avg", 0) + (1 - 0.9) * g
    memory["momentum_buffer"] = b = 0.7 * memory.get("momentum_buffer", 0) + g / (math.sqrt(v - a**2) + 0.1)
    return w - lr * b


def adagrad(w, g, decay, lr, t, memory):
    g += decay * w
    memory["sum"] = memory.get("sum", 0.2) + g**2
    return w - lr / (1 + (t - 1) * 0.4) * g / (math.sqrt(memory["sum"]) + 0.1)


def lion(w, g, decay, lr, t, memory):
    m = memory.get("exp_avg", 0)
    c = 0.8 * m + (1 - 0.8) * g
    memory["exp_avg"] = 0.95 * m + (1 - 0.95) * g
    return w - lr * ((c > 0) - (c < 0) + decay * w)


BETAS = {"betas": (0.8, 0.95), "eps": 0.1}
OPTIMIZERS = [
    (sgd, SGD, {}),
    (sgd_momentum, SGD, {"momentum": 0.9, "dampening": 0.25}),
    (sgd_nesterov, SGD, {"momentum": 0.9, "nesterov": True}),
    (adam, Adam, BETAS),
    (adamw, AdamW, BETAS),
    (nadam, NAdam, {**BETAS, "momentum_decay": 0.5}),
    (rmsprop, RMSprop, {"alpha": 0.9, "eps": 0.1}),
    (rmsprop_centered_momentum, RMSprop, {"alpha": 0.9, "eps": 0.1, "momentum": 0.7, "centered": True}),
    (adagrad, Adagrad, {"lr_decay": 0.4, "initial_accumulator_value": 0.2, "eps": 0.1}),
    (lion, Lion, {"betas": (0.8, 0.95)}),
]


@pytest.mark.parametrize(("by_hand", "kind", "options"), OPTIMIZERS, ids=lambda x: getattr(x, "__name__", None))
def test_it_follows_its_algorithm(by_hand, kind, options):
    """With decay, a factor of the gradients, and a rate that changes; what it remembers is what its name says."""
    model, rng = Weights(), np.random.default_rng(1)
    optimizer = kind(model, lr=1.0, weight_decay=DECAY, **options)
    expected = {path: list(p.data.reshape(-1)) for path, p in model.named_parameters()}
    memories = {path: [{} for _ in numbers] for path, numbers in expected.items()}
    for t in range(1, STEPS + 1):
        optimizer.zero_grad()
        optimizer.set_lr(lr := 0.1 / t)
        assert optimizer.get_lr() == lr
        for path, parameter in model.named_parameters():
            gradient = rng.standard_normal(parameter.data.shape)
            parameter.into().buffer[...] = gradient
            decay = DECAY if path == "matrix" else 0.0
            for i, g in enumerate(gradient.reshape(-1).tolist()):
                w = expected[path][i]
                expected[path][i] = by_hand(w, SCALE * g, decay, lr, t, memories[path][i])
        optimizer.step(SCALE)
        for path, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.data.reshape(-1), expected[path], rtol=1e-11, atol=1e-12)
    state = optimizer.state_dict()["moments"]
    assert state.keys() == {f"{name}.{path}" for path, memory in memories.items() for name in memory[0]}
    for path, memory in memories.items():
        for name in memory[0]:
            numbers = [each[name] for each in memory]
            np.testing.assert_allclose(state[f"{name}.{path}"].reshape(-1), numbers, rtol=1e-11, atol=1e-12)


def test_zero_grad_forgets_all_gradients():
    model = Weights()
    for parameter in model.parameters():
        parameter.into().buffer[...] = 1
    assert all(parameter.into().accumulate for parameter in model.parameters())
    SGD(model).zero_grad()
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_rounding_below_zero_is_no_variance():
    """Centred RMSprop and a gradient that never changes: v - a^2 is zero, and comes out on either side of it."""
    gradient = np.random.default_rng(0).standard_normal(50)
    v = a = np.zeros(50)
    for _ in range(200):
        v, a = 0.5 * v + 0.5 * gradient * gradient, 0.5 * a + 0.5 * gradient
    assert (v - a * a < 0).any()  # what the optimizer has to live with

    class Point(Module):
        def __init__(self):
            self.place = Parameter(np.zeros(50))

    model = Point()
    optimizer = RMSprop(model, lr=1e-9, alpha=0.5, eps=1e-3, centered=True)
    for _ in range(200):
        optimizer.zero_grad()
        model.place.into().buffer[...] = gradient
        optimizer.step()
    assert np.isfinite(model.place.data).all()
