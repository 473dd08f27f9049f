"""Adafactor and Muon against their algorithms, written out for one number at a time in Python's own arithmetic."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from minitrain.models import ViT, ViTConfig
from minitrain.nn import Linear, Module, Parameter, pack
from minitrain.optim import Adafactor, Muon, newton_schulz
from tests.optim.test_optimizer_values import DECAY, SCALE

STEPS = 8


class Weights(Module):
    """Matrices of all kinds, which decay, and vectors, which do not; some gradients are always zero."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.wide = Parameter(rng.standard_normal((2, 4)))
        self.tall = Parameter(rng.standard_normal((4, 3)))
        self.square = Parameter(rng.standard_normal((3, 3)))
        self.window = Parameter(10 * rng.standard_normal((2, 3, 2)))
        self.unused = Parameter(rng.standard_normal((2, 2)))
        self.vector = Parameter(rng.standard_normal(5))
        self.small = Parameter(np.full(1, 1e-9))
        self.nothing = Parameter(np.zeros(0))


def train(model, optimizer, lr):
    """Updates at a rate that changes; yields their number from 1, the rate, and the gradients by path."""
    rng = np.random.default_rng(1)
    for t in range(1, STEPS + 1):
        optimizer.set_lr(rate := lr * (1 - 0.05 * t))
        optimizer.zero_grad()
        gradients = {}
        for path, parameter in model.named_parameters():
            gradient = (path != "unused") * rng.standard_normal(parameter.data.shape)
            parameter.into().buffer[...] = gradient
            gradients[path] = SCALE * gradient
        optimizer.step(SCALE)
        yield t, rate, gradients


def assert_close(array, expected):
    np.testing.assert_allclose(array, expected, rtol=1e-11, atol=1e-12)


# In Adafactor's part, the numbers of an array are a dictionary by index.


def numbers(array):
    return {index: array[index].item() for index in np.ndindex(array.shape)}


def root_mean_square(x):
    return math.sqrt(sum(value**2 for value in x.values()) / len(x)) if x else 0.0


def means(x, place):
    """The means along one axis, which stays with a length of 1: by the index with a 0 in that place."""
    found: dict[tuple[int, ...], list[float]] = {}
    for index, value in x.items():
        found.setdefault(reduced(index, place), []).append(value)
    return {index: sum(values) / len(values) for index, values in found.items()}


def reduced(index, place):
    changed = list(index)
    changed[place] = 0
    return tuple(changed)


def adafactor(w, g, memory, t, lr, decay, *, beta2_decay=-0.8, eps=(2.0**-52, 1e-3), d=1.0, relative_step=True):
    """The new weights; ``memory`` has the moments by name."""
    alpha = max(eps[1], root_mean_square(w)) * min(lr, 1 / math.sqrt(t)) if relative_step else lr
    beta2 = 1 - t**beta2_decay

    def average(name, fresh):
        old = memory.get(name, dict.fromkeys(fresh, 0.0))
        memory[name] = {index: beta2 * old[index] + (1 - beta2) * value for index, value in fresh.items()}
        return memory[name]

    squares = {index: value**2 for index, value in g.items()}
    if any(len(index) > 1 for index in g):
        r, c = average("row_var", means(squares, -1)), average("col_var", means(squares, -2))
        total = means(r, -2)
        v = {}
        for index in g:
            row, column = reduced(index, -1), reduced(index, -2)
            v[index] = r[row] * c[column] / max(total[reduced(row, -2)], eps[0])
    else:
        v = average("variance", squares)
    u = {index: g[index] / max(math.sqrt(v[index]), eps[0]) for index in g}
    clip = max(1, root_mean_square(u) / d)
    return {index: w[index] * (1 - lr * decay) - alpha * u[index] / clip for index in w}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("relative_step", [True, False])
@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("options", [{}, {"beta2_decay": -0.5, "d": 0.6}, {"eps": (0.4, 2.0)}], ids=str)
def test_adafactor_follows_its_algorithm(options, decay, relative_step, packed):
    """The rate is above and below 1 / sqrt(t), the weights above and below eps2, the second moments eps1."""
    model, lr = Weights(), 0.6
    expected = {path: numbers(parameter.data) for path, parameter in model.named_parameters()}
    memories: dict[str, dict[str, dict[tuple[int, ...], float]]] = {path: {} for path in expected}
    if packed:
        pack(model)
    optimizer = Adafactor(model, lr=lr, weight_decay=decay, relative_step=relative_step, **options)
    for t, rate, gradients in train(model, optimizer, lr):
        for path, parameter in model.named_parameters():
            own_decay = decay if parameter.data.ndim > 1 else 0.0
            expected[path] = adafactor(
                expected[path],
                numbers(gradients[path]),
                memories[path],
                t,
                rate,
                own_decay,
                relative_step=relative_step,
                **options,
            )
            assert_close(parameter.data.reshape(-1), list(expected[path].values()))
    state = optimizer.state_dict()["moments"]
    assert state.keys() == {f"{name}.{path}" for path, memory in memories.items() for name in memory}
    for path, memory in memories.items():
        for name, by_index in memory.items():
            assert_close(state[f"{name}.{path}"].reshape(-1), list(by_index.values()))


# In Muon's part, a matrix is a list of rows.


def product(one, two):
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*two, strict=True)] for row in one]


def combined(a, one, b, two):
    """``a * one + b * two``."""
    return [
        [a * x + b * y for x, y in zip(*rows, strict=True)]
        for rows in zip(one, two, strict=True)
    ]  # fmt: skip


def orthogonalised(u, steps, eps):
    norm = max(math.sqrt(sum(value**2 for row in u for value in row)), eps)
    x = [[value / norm for value in row] for row in u]
    for _ in range(steps):
        gram = product(x, list(zip(*x, strict=True)))
        quadratic = combined(-4.7750, gram, 2.0315, product(gram, gram))
        x = combined(3.4445, x, 1.0, product(quadratic, x))
    return x


def muon(w, g, b, lr, decay, *, momentum=0.95, nesterov=True, ns_steps=5, eps=1e-7, adjust_lr_fn="original"):
    """The new weights and the new momentum buffer."""
    b = combined(momentum, b, 1 - momentum, g)
    u = combined(momentum, b, 1 - momentum, g) if nesterov else b
    rows, columns = len(w), len(w[0])
    scale = {"original": math.sqrt(max(1, rows / columns)), "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns))}
    step = orthogonalised(u, ns_steps, eps)
    return combined(1 - lr * decay, w, -lr * scale[adjust_lr_fn], step), b


MATRICES = ("wide", "tall", "square", "window", "unused")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.0}, {"momentum": 0.6, "ns_steps": 1}, {"eps": 0.9}, {"adjust_lr_fn": "match_rms_adamw"}],
    ids=str,
)
def test_muon_follows_its_algorithm(options, decay, nesterov, packed):
    """A window's first axis makes the rows; the norm of an update is above and below the larger eps."""
    model, lr = Weights(), 0.1
    expected = {
        path: getattr(model, path).data.reshape(len(getattr(model, path).data), -1).tolist() for path in MATRICES
    }
    buffers = {path: combined(0, w, 0, w) for path, w in expected.items()}
    if packed:
        pack(model)
    optimizer = Muon(model, lr=lr, weight_decay=decay, nesterov=nesterov, **options)
    for _, rate, gradients in train(model, optimizer, lr):
        for path in MATRICES:
            g = gradients[path].reshape(len(expected[path]), -1).tolist()
            expected[path], buffers[path] = muon(
                expected[path], g, buffers[path], rate, decay, nesterov=nesterov, **options
            )
            assert_close(getattr(model, path).data.reshape(len(g), -1), expected[path])
    state = optimizer.state_dict()["moments"]
    for path in MATRICES:
        assert_close(state[f"momentum_buffer.{path}"].reshape(len(expected[path]), -1), buffers[path])


class Names(Module):
    """Layers whose names say to Muon, or seem to say, what they are."""

    def __init__(self, *names):
        for name in names:
            setattr(self, name, Linear(3, 2, init_rng=np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"up", "header", "ahead"}),
        ({"adamw_params": ()}, {"up", "header", "ahead", "head", "lm_head", "tok_emb"}),
        ({"adamw_params": ("up.*", "*.up.*", "*emb*")}, {"header", "ahead", "head", "lm_head"}),
    ],
)
def test_muon_chooses_by_path(options, expected):
    """The same names in a module inside."""
    model = Names("up", "header", "ahead", "head", "lm_head", "tok_emb")
    model.inner = Names("up", "header", "ahead", "head", "lm_head", "tok_emb")
    paths = {f"{within}{name}.weight" for within in ("", "inner.") for name in expected}
    buffers = {name for name in Muon(model, **options).state_dict()["moments"] if name.startswith("momentum_buffer")}
    assert buffers == {f"momentum_buffer.{path}" for path in paths}


def test_a_convolution_is_a_hidden_matrix_whatever_its_path():
    """The stem of a vision transformer is in ``patch_emb``, but no table. A pattern of one's own takes it."""
    names = {"image_size": 8, "patch": 4, "n_classes": 3, "channels": 1, "pool": "mean", "stem": "conv"}
    model = ViT(ViTConfig(**names, n_layer=1, n_head=1, n_embd=8))
    stem = {f"momentum_buffer.patch_emb.convolutions.{i}.weight" for i in (0, 1)}
    moments = Muon(model).state_dict()["moments"].keys()
    assert stem <= moments
    assert {"exp_avg.patch_emb.project.weight", "exp_avg.pos_emb.weight", "exp_avg.head.weight"} <= moments
    assert not stem & Muon(model, adamw_params=("*emb*",)).state_dict()["moments"].keys()


def test_three_axes_are_a_matrix_whatever_their_name() -> None:
    class Windows(Module):
        def __init__(self) -> None:
            self.tok_emb = Parameter(np.ones((4, 3, 2)))
            self.emb = Parameter(np.ones((4, 3)))

    assert set(Muon(Windows(), lr=0.1).state_dict()["moments"]) == {
        "momentum_buffer.tok_emb",
        "exp_avg.emb",
        "exp_avg_sq.emb",
    }


def test_packed_weights_without_a_hidden_matrix_are_updated_in_one_go(monkeypatch):
    model = Names("up", "down")
    pack(model)
    updated = []
    monkeypatch.setattr(Muon, "update", lambda self, weight, grad, moments, **options: updated.append(weight.shape))
    model.parameters()[0].grad[...] = 1
    Muon(model).step()
    assert len(updated) == 3  # each of the two matrices, and the two biases together


@pytest.mark.parametrize("shape", [(500, 2), (2, 500)])
def test_newton_schulz_multiplies_along_the_longer_side(shape):
    """Its products are (2, 2) then; the other way round, (500, 500) would be far slower and larger."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    tracemalloc.start()
    try:
        newton_schulz(matrix)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 500 * 500 * matrix.itemsize / 2
