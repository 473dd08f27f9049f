"""AdamW, clipping and schedules against their definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import CheckpointError, ConfigError
from minitrain.nn import Module, Parameter, pack
from minitrain.optim import AdamW, Constant, WarmupCosine, clip_by_global_norm, clip_by_value


class Weights(Module):
    def __init__(self, seed=0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        self.matrix = Parameter(rng.standard_normal((5, 7)).astype(dtype))
        self.vector = Parameter(rng.standard_normal(3).astype(dtype))


def set_gradients(model, rng):
    for parameter in model.parameters():
        target = parameter.into()
        target.buffer[...] = rng.standard_normal(parameter.data.shape)


def adamw_by_hand(weights, gradients, lr, betas, eps, decays):
    """The algorithm of the paper, one array at a time, as plainly as possible."""
    weights = [w.astype(np.float64) for w in weights]
    m, v = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for t, step_gradients in enumerate(gradients, start=1):
        for i, g in enumerate(step_gradients):
            weights[i] = weights[i] - lr * decays[i] * weights[i]
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g**2
            weights[i] = weights[i] - lr * (m[i] / (1 - betas[0] ** t)) / (np.sqrt(v[i] / (1 - betas[1] ** t)) + eps)
    return weights


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_thirty_steps_follow_the_paper(packed, dtype, tolerance, mode):
    model, rng = Weights(dtype=dtype), np.random.default_rng(1)
    start = [parameter.data.copy() for parameter in model.parameters()]
    if packed:
        pack(model)
    optimizer = AdamW(model, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3)
    gradients = []
    with use_kernels(mode):
        for _ in range(30):
            optimizer.zero_grad()
            set_gradients(model, rng)
            gradients.append([parameter.grad.astype(np.float64) * 0.5 for parameter in model.parameters()])
            optimizer.step(grad_scale=0.5)
    expected = adamw_by_hand(start, gradients, 0.01, (0.8, 0.95), 1e-6, decays=[0.3, 0.0])
    for parameter, array in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.data, array, rtol=tolerance, atol=tolerance)


def test_the_first_step_is_minus_lr_times_the_sign():
    model = Weights()
    start = [parameter.data.copy() for parameter in model.parameters()]
    optimizer = AdamW(model, lr=0.1, eps=0.0, weight_decay=0.0)
    set_gradients(model, np.random.default_rng(0))
    optimizer.step()
    for before, parameter in zip(start, model.parameters(), strict=True):
        np.testing.assert_allclose(parameter.data - before, -0.1 * np.sign(parameter.grad), rtol=1e-12)


def test_parameters_without_a_gradient_only_decay():
    model = Weights()
    before = model.matrix.data.copy()
    model.vector.grad[...] = 1
    AdamW(model, lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(model.matrix.data, before * (1 - 0.05))


@pytest.mark.parametrize(("first_packed", "second_packed"), [(False, True), (True, False), (True, True)])
def test_state_goes_on_in_another_optimizer(first_packed, second_packed):
    one, two = Weights(), Weights()
    if first_packed:
        pack(one)
    a = AdamW(one, lr=0.1)
    rng = np.random.default_rng(2)
    for _ in range(3):
        set_gradients(one, rng)
        a.step()
    two.load_state_dict(one.state_dict())
    if second_packed:
        pack(two)
    b = AdamW(two, lr=0.7)
    b.load_state_dict(a.state_dict())
    assert b.get_lr() == 0.1
    for model, optimizer in ((one, a), (two, b)):
        optimizer.zero_grad()
        set_gradients(model, np.random.default_rng(3))
        optimizer.step()
    assert np.array_equal(one.matrix.data, two.matrix.data)
    assert np.array_equal(one.vector.data, two.vector.data)


def test_a_state_of_another_model_is_refused():
    optimizer = AdamW(Weights())
    state = optimizer.state_dict()
    state["moments"] = {name.replace("vector", "bias"): array for name, array in state["moments"].items()}
    with pytest.raises(CheckpointError, match="only one of the two has"):
        optimizer.load_state_dict(state)
    state = optimizer.state_dict()
    state["moments"]["exp_avg.vector"] = np.zeros(4)
    with pytest.raises(CheckpointError, match=r"exp_avg\.vector is an array .* of shape \(4,\), .* \(3,\)"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("bad", [{"lr": -1}, {"betas": (1.0, 0.9)}, {"eps": math.nan}, {"weight_decay": -0.1}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        AdamW(Weights(), **bad)


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(0.5, 50), st.booleans(), st.sampled_from(["f4", "f8"]))
def test_clipping_by_global_norm(seed, max_norm, count, packed, dtype):
    model = Weights(dtype=dtype)
    if packed:
        pack(model)
    set_gradients(model, np.random.default_rng(seed))
    gradients = np.concatenate([parameter.grad.reshape(-1) for parameter in model.parameters()]).astype(np.float64)
    before = gradients.copy()
    norm, scale = clip_by_global_norm(model, max_norm, count=count)
    mean_norm = np.linalg.norm(gradients / count)
    assert norm == pytest.approx(mean_norm, rel=1e-6)
    clipped = np.linalg.norm(gradients * scale)
    assert clipped == pytest.approx(min(mean_norm, max_norm), rel=1e-4)
    after = np.concatenate([parameter.grad.reshape(-1) for parameter in model.parameters()])
    assert np.array_equal(after, before)


def test_no_limit_no_gradient_and_no_target():
    model = Weights()
    assert clip_by_global_norm(model, 1.0) == (0.0, 1.0)
    set_gradients(model, np.random.default_rng(0))
    assert clip_by_global_norm(model, None, count=4).scale == 0.25
    assert clip_by_global_norm(model, 1.0, count=0).scale == 0.0
    assert math.isnan(clip_by_global_norm(model, 1.0, count=0).norm)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [1.0, 12.0])
def test_clip_by_value(packed, count):
    model = Weights()
    if packed:
        pack(model)
    set_gradients(model, np.random.default_rng(0))
    before = {path: parameter.grad.copy() for path, parameter in model.named_parameters()}
    scale = clip_by_value(model, 0.05, count=count)
    for path, parameter in model.named_parameters():
        np.testing.assert_allclose(scale * parameter.grad, np.clip(before[path] / count, -0.05, 0.05), rtol=1e-12)
    assert clip_by_value(model, 0.05, count=0) == 0.0
    with pytest.raises(ConfigError, match="max_value = 0 must be more than 0"):
        clip_by_value(model, 0)


def test_a_large_flat_gradient_sums_like_numpy():
    from minitrain.optim import sum_of_squares

    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    assert sum_of_squares(x) == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-12)


class TestSchedules:
    def test_the_cosine_hits_its_marks(self):
        schedule = WarmupCosine(max_lr=1.0, min_lr=0.1, warmup_steps=10, total_steps=110)
        assert schedule(0) == pytest.approx(1 / 11)  # the first update already runs at the warm-up's first rate
        assert schedule(9) == pytest.approx(10 / 11)
        assert schedule(10) == 1.0
        assert schedule(60) == pytest.approx(0.55)
        assert schedule(110) == pytest.approx(0.1)
        assert schedule(10_000) == pytest.approx(0.1)

    @given(st.floats(1e-6, 1), st.floats(0, 1), st.integers(0, 50), st.integers(1, 200))
    def test_it_rises_then_falls_within_its_bounds(self, max_lr, part, warmup, decay):
        schedule = WarmupCosine(max_lr, part * max_lr, warmup, warmup + decay)
        rates = [schedule(step) for step in range(warmup + decay + 5)]
        assert all(0 < rate <= max_lr * (1 + 1e-12) for rate in rates[: warmup + 1])
        assert all(a <= b for a, b in itertools.pairwise(rates[: warmup + 1]))
        assert all(a >= b - 1e-15 for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False))
        assert rates[-1] == pytest.approx(part * max_lr)

    def test_constant(self):
        assert Constant(0.3)(0) == Constant(0.3)(1000) == 0.3
        assert Constant(0.3, warmup_steps=2)(0) == pytest.approx(0.1)

    def test_impossible_phases_are_refused(self):
        with pytest.raises(ConfigError, match="warmup_steps = 100 must be less than the 50 steps"):
            WarmupCosine(1.0, 0.1, 100, 50)
        with pytest.raises(ConfigError, match="min_lr = 2"):
            WarmupCosine(1.0, 2, 0, 50)
