"""Norms, clipping and factors on an emulated GPU: the values of a CPU, and no wait for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain.backend import to_device, to_numpy, use_kernels
from minitrain.backend.arrays import is_cupy
from minitrain.errors import ConfigError, NonFiniteError
from minitrain.models import MLP, MLPConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, clip_adaptive, clip_by_global_norm
from minitrain.optim.clip import clip_without_waiting, sum_of_squares
from minitrain.testing.cuda.fake import emulated_device


@pytest.fixture(autouse=True)
def reference() -> Any:
    with use_kernels("reference"):
        yield


def model(device: str = "cpu", size: float = 1.0) -> MLP:
    made = MLP(MLPConfig((5, 7, 3)), seed=0).to(device)
    pack(made)
    rng = np.random.default_rng(1)
    for parameter in made.parameters():
        parameter.grad[...] = to_device(rng.standard_normal(parameter.data.shape).astype(np.float32) * size, device)
    return made


@pytest.mark.parametrize("max_norm", [None, math.inf, 0.25, 1e6])
@pytest.mark.parametrize("count", [1.0, 8.0])
@pytest.mark.parametrize("there", [False, True])
def test_the_norm_and_the_factor_stay_on_the_gpu(max_norm: float | None, count: float, there: bool) -> None:
    expected = clip_by_global_norm(model(), max_norm, count=count)
    with emulated_device() as gpu:
        one = model("cuda")
        divisor = to_device(np.array(count), "cuda") if there else count
        with gpu.counting() as counts:
            found = clip_without_waiting(one, max_norm, count=divisor)
        assert (counts.synchronisations, counts.to_host) == (0, 0)
        assert all(is_cupy(x) and x.shape == () and x.dtype == np.float64 for x in found)
        assert [float(to_numpy(x)) for x in found] == pytest.approx(list(expected), rel=1e-12)


def test_limits_are_checked() -> None:
    with emulated_device():
        for limit in (0.0, -1.0, math.nan):
            with pytest.raises(ConfigError, match="clip_by_global_norm: max_norm"):
                clip_without_waiting(model("cuda"), limit, count=1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_gradient_is_told_with_the_next_transfer(bad: float) -> None:
    with emulated_device():
        one = model("cuda")
        clip_without_waiting(one, 1.0, count=1.0)
        to_numpy(one.parameters()[0].data)  # all is well
        one.parameters()[0].grad[0, 0] = bad
        clip_without_waiting(one, 1.0, count=1.0)
        with pytest.raises(NonFiniteError, match="the gradient's norm was NaN or infinite in an update"):
            to_numpy(one.parameters()[0].data)


def test_an_optimizer_takes_the_factor_as_it_is() -> None:
    """Without a look at it."""
    here = model()
    AdamW(here, lr=0.1).step(clip_by_global_norm(here, 0.1, count=3.0).scale)
    with emulated_device() as gpu:
        there = model("cuda")
        optimizer = AdamW(there, lr=0.1)
        scale = clip_without_waiting(there, 0.1, count=3.0).scale
        with gpu.counting() as counts:
            optimizer.step(scale)
        assert counts.synchronisations == 0
        for one, two in zip(here.parameters(), there.parameters(), strict=True):
            np.testing.assert_allclose(to_numpy(two.data), one.data, rtol=1e-6)


def test_a_scale_that_is_a_number_is_a_python_number() -> None:
    """Rules get a float, whatever number they were given."""
    seen = []

    class Looking(AdamW):
        def update(self, weight: Any, grad: Any, moments: Any, **rates: Any) -> None:
            seen.append(rates["grad_scale"])

    Looking(model(), lr=0.1).step(np.float32(0.5))
    assert {type(one) for one in seen} == {float}


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_adaptive_clipping_has_the_gradients_of_a_cpu(size: float) -> None:
    """Squares of large gradients overflow; then they are measured in float64, one unit and not another."""
    here = model(size=size)
    matrix = here.parameters()[0].grad
    matrix[0] /= np.float32(size)  # small, beside units that overflow
    matrix[1] = 0
    clip_adaptive(here, 0.01, count=2.0)
    with emulated_device() as gpu, np.errstate(over="ignore"):
        there = model("cuda", size)
        matrix = there.parameters()[0].grad
        matrix[0] /= np.float32(size)
        matrix[1] = 0
        with gpu.counting() as counts:
            clip_adaptive(there, 0.01, count=2.0)
        for one, two in zip(here.parameters(), there.parameters(), strict=True):
            np.testing.assert_allclose(to_numpy(two.grad), one.grad, rtol=1e-6)
            assert np.isfinite(one.grad).all()
    assert counts.synchronisations == 1  # finite_grad_norm looks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_of_squares_is_a_number_on_a_cpu_and_an_array_on_a_gpu(dtype: str) -> None:
    x = np.arange(6, dtype=dtype).reshape(2, 3)
    assert type(sum_of_squares(x)) is float
    assert sum_of_squares(x) == 55.0
    with emulated_device():
        there = sum_of_squares(to_device(x, "cuda"))
        assert is_cupy(there)
        assert (there.shape, there.dtype, float(to_numpy(there))) == ((), np.float64, 55.0)
