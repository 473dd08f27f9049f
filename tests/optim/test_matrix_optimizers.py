"""Adafactor and Muon, which see every matrix in its shape, and anchors that have a closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import Module, Parameter, pack
from minitrain.optim import Adafactor, AdamW, Linear, Muon, newton_schulz


class Weights(Module):
    """A table, matrices that are wide, tall and of a convolution, and a vector."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.emb = Parameter(rng.standard_normal((6, 4)))
        self.wide = Parameter(rng.standard_normal((3, 5)))
        self.tall = Parameter(rng.standard_normal((7, 2)))
        self.window = Parameter(rng.standard_normal((4, 3, 2)))
        self.vector = Parameter(rng.standard_normal(5))


def follow(optimizer, model, steps, seed=1):
    """Random gradients and updates; yields the gradients that the optimizer saw."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        seen = {}
        for path, parameter in model.named_parameters():
            seen[path] = rng.standard_normal(parameter.data.shape)
            parameter.into().buffer[...] = 4 * seen[path]
        optimizer.step(0.25)
        yield seen


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    scale=st.sampled_from([1e-4, 1.0, 1e6]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40)
def test_newton_schulz_brings_singular_values_near_one(rows, columns, scale, seed):
    """Those from a hundredth of the norm upwards end within the published band after five steps."""
    matrix = scale * np.random.default_rng(seed).standard_normal((rows, columns))
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ newton_schulz(matrix) @ vt.T
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=1e-8)  # the singular vectors stay
    reached = np.diag(inner)[s > 0.01 * np.linalg.norm(matrix)]
    assert reached.min() > 0.68
    assert reached.max() < 1.14


def test_newton_schulz_of_a_known_matrix():
    """One step on a diagonal matrix is the quintic on its entries, scaled to a norm of one."""
    x = np.array([3.0, 4.0]) / 5
    expected = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    np.testing.assert_allclose(newton_schulz(np.diag([3.0, 4.0]), steps=1), np.diag(expected), rtol=1e-14)
    assert not newton_schulz(np.zeros((3, 2))).any()
    assert newton_schulz(np.ones((3, 2), np.float32)).dtype == np.float32


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
def test_muon_follows_the_algorithm(packed, adjust):
    """Jordan's lines, one matrix at a time, with the singular value decomposition where Newton-Schulz stands."""
    model = Weights()
    theta = {path: array.copy() for path, array in model.state_dict().items()}
    buffer = {path: np.zeros_like(array) for path, array in theta.items()}
    if packed:
        pack(model)
    lr, mu, decay = 0.02, 0.9, 0.3
    optimizer = Muon(model, lr=lr, momentum=mu, weight_decay=decay, adjust_lr_fn=adjust)
    for seen in follow(optimizer, model, steps=30):
        for path in ("wide", "tall", "window"):
            flat = (len(theta[path]), -1)
            buffer[path] = mu * buffer[path] + (1 - mu) * seen[path]
            direction = ((1 - mu) * seen[path] + mu * buffer[path]).reshape(flat)
            u, s, vt = np.linalg.svd(direction, full_matrices=False)
            s /= np.linalg.norm(s)
            for _ in range(5):
                s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
            rows, columns = direction.shape
            scale = max(1, rows / columns) ** 0.5 if adjust == "original" else 0.2 * max(rows, columns) ** 0.5
            theta[path] = theta[path] * (1 - lr * decay) - lr * scale * ((u * s) @ vt).reshape(theta[path].shape)
            np.testing.assert_allclose(model.state_dict()[path], theta[path], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("packed", [False, True])
def test_muon_leaves_the_rest_to_adamw(packed):
    one, two = Weights(), Weights()
    if packed:
        pack(one)
    muon = Muon(one, lr=0.02, weight_decay=0.1, adamw_lr_scale=0.5, adamw_betas=(0.8, 0.9), adamw_eps=1e-6)
    adamw = AdamW(two, lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1)
    for model, optimizer in ((one, muon), (two, adamw)):
        list(follow(optimizer, model, steps=5))
    np.testing.assert_allclose(one.emb.data, two.emb.data, rtol=1e-12)
    np.testing.assert_allclose(one.vector.data, two.vector.data, rtol=1e-12)
    moments, of_adamw = muon.state_dict()["moments"], adamw.state_dict()["moments"]
    rest = {f"{name}.{path}" for name in ("exp_avg", "exp_avg_sq") for path in ("emb", "vector")}
    assert moments.keys() == rest | {f"momentum_buffer.{path}" for path in ("wide", "tall", "window")}
    for name in rest:
        np.testing.assert_allclose(moments[name], of_adamw[name], rtol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_muon_knows_the_hidden_matrices_of_gpt(tied):
    model = GPT(GPTConfig(vocab_size=9, block_size=4, n_layer=1, n_head=2, n_embd=8, tie_weights=tied))
    buffers = {name for name in Muon(model).state_dict()["moments"] if name.startswith("momentum_buffer")}
    hidden = ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down")
    assert buffers == {f"momentum_buffer.blocks.0.{name}.weight" for name in hidden}


def test_muon_needs_a_hidden_matrix():
    with pytest.raises(ConfigError, match=r"Muon: there is no hidden matrix .*adamw_params takes \*.*; use AdamW"):
        Muon(Weights(), adamw_params=("*",))


@pytest.mark.parametrize("packed", [False, True])
def test_adafactor_follows_the_paper(packed):
    """Algorithms 4 and 5 with the sums of their update, for a matrix and a vector; gradients are far above eps."""
    model = Weights()
    theta = {path: array.copy() for path, array in model.state_dict().items()}
    r, c, v = np.zeros(3), np.zeros(5), np.zeros(5)
    if packed:
        pack(model)
    optimizer = Adafactor(model, lr=0.01, eps=(1e-15, 1e-3), d=0.8)

    def clipped(u):
        return u / max(1, np.sqrt(np.mean(u**2)) / 0.8)

    for t, seen in enumerate(follow(optimizer, model, steps=30), start=1):
        beta2, rho = 1 - t**-0.8, min(0.01, 1 / np.sqrt(t))
        squares = seen["wide"] ** 2
        r = beta2 * r + (1 - beta2) * squares.sum(axis=1)
        c = beta2 * c + (1 - beta2) * squares.sum(axis=0)
        v = beta2 * v + (1 - beta2) * seen["vector"] ** 2
        updates = {
            "wide": clipped(seen["wide"] / np.sqrt(np.outer(r, c) / r.sum())),
            "vector": clipped(seen["vector"] / np.sqrt(v)),
        }
        for path, update in updates.items():
            alpha = max(1e-3, np.sqrt(np.mean(theta[path] ** 2))) * rho
            theta[path] = theta[path] - alpha * update
            np.testing.assert_allclose(model.state_dict()[path], theta[path], rtol=1e-10, atol=1e-12)


def test_adafactor_keeps_rows_and_columns_alone():
    shapes = {name: array.shape for name, array in Adafactor(Weights()).state_dict()["moments"].items()}
    assert shapes["row_var.wide"] == (3, 1)
    assert shapes["col_var.wide"] == (1, 5)
    assert (shapes["row_var.window"], shapes["col_var.window"]) == ((4, 3, 1), (4, 1, 2))
    assert shapes["variance.vector"] == (5,)


def test_adafactors_relative_step_falls_with_the_steps_and_grows_with_the_weights():
    """The gradient is constant, so each step is as long as its rate: rms(w) min(lr, 1 / sqrt(t))."""
    for size in (1.0, 10.0):
        model = Weights()
        model.vector.data[...] = size
        optimizer = Adafactor(model, lr=0.3)
        for t in range(1, 21):
            before = model.vector.data.copy()
            optimizer.zero_grad()
            model.vector.into().buffer[...] = 1.0
            optimizer.step()
            rate = np.sqrt(np.mean(before**2)) * min(0.3, 1 / np.sqrt(t))
            np.testing.assert_allclose(before - model.vector.data, rate, rtol=1e-6)


@pytest.mark.parametrize("kind", [AdamW, Adafactor, Muon])
def test_least_squares_ends_at_the_closed_form(kind):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    model = Weights()
    model.wide.data[...] = 0
    options = {"relative_step": False} if kind is Adafactor else {}
    optimizer, schedule = kind(model, weight_decay=0.0, **options), Linear(0.03, 0.0, 1500)
    for step in range(1500):
        optimizer.set_lr(schedule(step))
        optimizer.zero_grad()
        model.wide.into().buffer[...] = (x @ model.wide.data.T - y).T @ x / len(x)
        optimizer.step()
    solution = np.linalg.lstsq(x, y, rcond=None)[0].T  # (3, 5)
    np.testing.assert_allclose(model.wide.data, solution, atol=1e-3)
