"""What all optimizers promise, and each one's own: its definition, its settings, its minima."""

import json
import math

import numpy as np
import pytest

from minitrain.errors import CheckpointError, ConfigError
from minitrain.nn import Module, Parameter, pack
from minitrain.optim import SGD, Adafactor, Adagrad, Adam, AdamW, Linear, Lion, Muon, NAdam, Optimizer, RMSprop

# Settings, and the first rates for the two problems below.
OPTIMIZERS = {
    "sgd": (SGD, {}, 0.1, 2e-3),
    "sgd-momentum": (SGD, {"momentum": 0.9, "dampening": 0.1}, 0.05, 1e-3),
    "sgd-nesterov": (SGD, {"momentum": 0.9, "nesterov": True}, 0.05, 1e-3),
    "adam": (Adam, {}, 0.05, 0.05),
    "adamw": (AdamW, {"weight_decay": 0.0}, 0.05, 0.05),
    "rmsprop": (RMSprop, {}, 0.01, 0.01),
    "rmsprop-centered": (RMSprop, {"centered": True}, 0.01, 0.01),
    "rmsprop-momentum": (RMSprop, {"momentum": 0.9, "alpha": 0.9}, 0.002, 0.002),
    "adagrad": (Adagrad, {}, 0.5, 0.2),
    "lion": (Lion, {}, 0.01, 0.01),
    "nadam": (NAdam, {}, 0.05, 0.05),
    "adafactor": (Adafactor, {"relative_step": False}, 0.05, 0.05),
    "muon": (Muon, {"weight_decay": 0.0}, 0.05, 0.01),
    "muon-plain": (Muon, {"weight_decay": 0.0, "nesterov": False, "momentum": 0.5}, 0.05, 0.01),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class Weights(Module):
    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.matrix = Parameter(rng.standard_normal((5, 7)))
        self.vector = Parameter(rng.standard_normal(3))


class Point(Module):
    """A place in a landscape, as a matrix of one row."""

    def __init__(self, *start):
        self.place = Parameter(np.array([start]))


def make(name, model, **overrides):
    kind, options = OPTIMIZERS[name][:2]
    return kind(model, **{"lr": 0.01, "weight_decay": 0.1, **options, **overrides})


def advance(model, optimizer, rng, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        for parameter in model.parameters():
            parameter.into().buffer[...] = rng.standard_normal(parameter.data.shape)
        optimizer.step(0.5)


def weights(model):
    return {path: parameter.data.copy() for path, parameter in model.named_parameters()}


def minimise(name, gradient, start, lr, steps=2000):
    """Where an optimizer ends whose rate falls to zero along a line."""
    model = Point(*start)
    kind, options = OPTIMIZERS[name][:2]
    optimizer, schedule = kind(model, lr=lr, **options), Linear(lr, 0.0, steps)
    for step in range(steps):
        optimizer.set_lr(schedule(step))
        optimizer.zero_grad()
        model.place.into().buffer[...] = gradient(model.place.data[0])
        optimizer.step()
    return model.place.data[0]


@every_optimizer
def test_it_finds_the_bottom_of_a_parabola(name):
    curvature, bottom = np.array([1.0, 10.0, 0.5]), np.array([0.3, -0.2, 0.1])
    end = minimise(name, lambda x: curvature * (x - bottom), (0.5, 0.5, 0.5), OPTIMIZERS[name][2])
    np.testing.assert_allclose(end, bottom, atol=1e-3)


@every_optimizer
def test_it_walks_down_the_valley_of_rosenbrock(name):
    def gradient(p):
        x, y = p
        return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])

    x, y = minimise(name, gradient, (-0.5, 0.5), OPTIMIZERS[name][3])
    assert (1 - x) ** 2 + 100 * (y - x * x) ** 2 < 0.05  # 8.5 at the start


@every_optimizer
def test_packed_is_unpacked(name):
    one, two = Weights(), Weights()
    pack(two)
    for model in (one, two):
        advance(model, make(name, model), np.random.default_rng(1), steps=5)
    for path, array in weights(one).items():
        assert np.array_equal(array, weights(two)[path])


@every_optimizer
@pytest.mark.parametrize(("first_packed", "second_packed"), [(False, True), (True, False)])
def test_the_state_goes_on_in_another_optimizer(name, first_packed, second_packed):
    one, two = Weights(), Weights(seed=1)
    if first_packed:
        pack(one)
    first = make(name, one)
    advance(one, first, np.random.default_rng(1), steps=4)
    state = first.state_dict()
    moments = {path: array.copy() for path, array in state.pop("moments").items()}
    state = {**json.loads(json.dumps(state)), "moments": moments}  # as a checkpoint keeps it
    two.load_state_dict(one.state_dict())
    if second_packed:
        pack(two)
    second = make(name, two, lr=0.7)
    second.load_state_dict(state)
    assert second.get_lr() == 0.01
    for model, optimizer in ((one, first), (two, second)):
        advance(model, optimizer, np.random.default_rng(2), steps=3)
    for path, array in weights(one).items():
        assert np.array_equal(array, weights(two)[path])


@every_optimizer
def test_gradients_stay_and_frozen_weights_too(name):
    model = Weights()
    model.vector.trainable = False
    before = model.vector.data.copy()
    optimizer = make(name, model)
    gradient = np.random.default_rng(0).standard_normal((5, 7))
    model.matrix.into().buffer[...] = gradient
    optimizer.step(0.5)
    assert np.array_equal(model.matrix.grad, gradient)
    assert np.array_equal(model.vector.data, before)
    assert not any("vector" in path for path in optimizer.state_dict()["moments"])


@every_optimizer
def test_single_precision_stays_single(name):
    model = Weights()
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float32)
    wide = Weights()
    for path, array in weights(model).items():
        dict(wide.named_parameters())[path].data[...] = array
    for each in (model, wide):
        optimizer = make(name, each)
        advance(each, optimizer, np.random.default_rng(3), steps=5)
        dtypes = {array.dtype for array in optimizer.state_dict()["moments"].values()}
        assert dtypes <= {each.matrix.data.dtype}
    assert model.matrix.data.dtype == np.float32
    np.testing.assert_allclose(model.matrix.data, wide.matrix.data, rtol=1e-3, atol=1e-4)


def test_lion_follows_algorithm_2():
    """The paper's lines, one array at a time."""
    model, rng = Weights(), np.random.default_rng(1)
    lr, beta1, beta2, decay = 0.02, 0.8, 0.95, 0.3
    theta = weights(model)
    m = {path: np.zeros_like(array) for path, array in theta.items()}
    optimizer = Lion(model, lr=lr, betas=(beta1, beta2), weight_decay=decay)
    for _ in range(30):
        optimizer.zero_grad()
        for path, parameter in model.named_parameters():
            g = rng.standard_normal(parameter.data.shape)
            parameter.into().buffer[...] = 2 * g
            c = beta1 * m[path] + (1 - beta1) * g
            own_decay = decay if path == "matrix" else 0.0
            theta[path] = theta[path] - lr * (np.sign(c) + own_decay * theta[path])
            m[path] = beta2 * m[path] + (1 - beta2) * g
        optimizer.step(0.5)
    for path, array in weights(model).items():
        np.testing.assert_allclose(array, theta[path], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(optimizer.state_dict()["moments"][f"exp_avg.{path}"], m[path], rtol=1e-12)


def test_lion_has_the_papers_settings():
    optimizer = Lion(Weights())
    assert (optimizer.get_lr(), optimizer.betas, optimizer.weight_decay) == (1e-4, (0.9, 0.99), 0.0)


@pytest.mark.parametrize("kind", [Adam, NAdam, Adagrad, RMSprop, Lion])
def test_the_first_step_goes_along_the_sign_of_the_gradient(kind):
    model = Weights()
    before = weights(model)
    optimizer = kind(model, lr=0.1, weight_decay=0.0)
    advance(model, optimizer, np.random.default_rng(0), steps=1)
    for path, parameter in model.named_parameters():
        moved = parameter.data - before[path]
        assert np.array_equal(np.sign(moved), -np.sign(parameter.grad))
        np.testing.assert_allclose(np.abs(moved), np.abs(moved).mean(), rtol=1e-5)  # by the same length everywhere


def test_plain_sgd_is_one_line_and_has_no_moments():
    model = Weights()
    before = weights(model)
    optimizer = SGD(model, lr=0.1, weight_decay=0.5)
    advance(model, optimizer, np.random.default_rng(0), steps=1)
    np.testing.assert_allclose(
        model.matrix.data, before["matrix"] - 0.1 * (0.5 * model.matrix.grad + 0.5 * before["matrix"])
    )
    np.testing.assert_allclose(model.vector.data, before["vector"] - 0.1 * 0.5 * model.vector.grad)
    assert optimizer.state_dict() == {"step": 1, "lr": 0.1, "moments": {}}


def test_a_constant_gradient_has_no_variance_below_zero():
    """Centred RMSprop: rounding must not put a negative number under the root."""
    model = Point(0.0, 0.0, 0.0)
    optimizer = RMSprop(model, lr=1e-9, alpha=0.5, eps=1e-3, centered=True)
    for _ in range(200):
        optimizer.zero_grad()
        model.place.into().buffer[...] = [0.1, 1 / 3, 1e3 / 7]
        optimizer.step()
        assert np.all(np.isfinite(model.place.data))


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [("momentum_product", [0, 0.5, 1], [-0.5, 1.5]), ("lr", [0, 0.5], [-0.5]), ("step", [0, 3], [-1])],
)
def test_numbers_of_a_state_are_in_their_range(name, allowed, refused):
    optimizer = NAdam(Weights())
    for value in allowed:
        optimizer.load_state_dict({**optimizer.state_dict(), name: value})
        assert optimizer.state_dict()[name] == value
    for value in refused:
        with pytest.raises(CheckpointError, match=name):
            optimizer.load_state_dict({**optimizer.state_dict(), name: value})


def test_a_state_of_another_optimizer_is_refused():
    model = Weights()
    adam, nadam = Adam(model), NAdam(model)
    with pytest.raises(CheckpointError, match="another optimizer: only one of the two has momentum_product"):
        nadam.load_state_dict(adam.state_dict())
    with pytest.raises(CheckpointError, match=r"only one of the two has momentum_buffer\.matrix"):
        SGD(model, momentum=0.9).load_state_dict(SGD(model).state_dict())
    with pytest.raises(CheckpointError, match=r"only one of the two has exp_avg\.matrix"):
        adam.load_state_dict(Adagrad(model).state_dict())


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (SGD, {"momentum": 1.0}),
        (SGD, {"dampening": 1.5}),
        (SGD, {"nesterov": True}),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        (Adam, {"betas": (0.9, -0.1)}),
        (Adam, {"eps": math.nan}),
        (RMSprop, {"alpha": 1.0}),
        (RMSprop, {"momentum": -0.1}),
        (RMSprop, {"eps": -1}),
        (Adagrad, {"lr_decay": -1}),
        (Adagrad, {"initial_accumulator_value": -1}),
        (NAdam, {"momentum_decay": math.inf}),
        (NAdam, {"betas": (1.0, 0.9)}),
        (Lion, {"betas": (0.9, 1.0)}),
        (Adafactor, {"beta2_decay": 0.5}),
        (Adafactor, {"eps": (None, -1e-3)}),
        (Adafactor, {"d": 0.0}),
        (Muon, {"momentum": 1.0}),
        (Muon, {"ns_steps": 0}),
        (Muon, {"adjust_lr_fn": "match"}),
        (Muon, {"adamw_betas": (0.9, 1.5)}),
        *[(kind, {"lr": -1}) for kind in (SGD, Adam, RMSprop, Adagrad, NAdam, Lion, Adafactor, Muon)],
        *[(kind, {"weight_decay": math.nan}) for kind in (SGD, Adam, RMSprop, Adagrad, NAdam, Lion, Adafactor, Muon)],
    ],
)
def test_bad_settings_are_refused(kind, bad):
    with pytest.raises(ConfigError, match=f"{kind.__name__}: {next(iter(bad))}"):
        kind(Weights(), **bad)


def test_an_optimizer_of_ones_own():
    """The base class is for users too: name the moments, write the update."""

    class Averaged(Optimizer):
        def __init__(self, model):
            super().__init__(model, ("mean",), lr=0.1, weight_decay=0.0)

        def update(self, weight, grad, moments, *, lr, weight_decay, grad_scale):
            moments["mean"] += (grad * grad_scale - moments["mean"]) / self.steps
            weight -= lr * moments["mean"]

    model = Point(1.0)
    optimizer = Averaged(model)
    for gradient in (2.0, 4.0):
        optimizer.zero_grad()
        model.place.into().buffer[...] = gradient
        optimizer.step()
    assert model.place.data[0, 0] == pytest.approx(1 - 0.2 - 0.3)
    assert optimizer.state_dict()["moments"]["mean.place"][0, 0] == pytest.approx(3.0)
