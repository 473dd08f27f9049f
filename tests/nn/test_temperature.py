"""The learned temperature at and beyond its limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.errors import ConfigError, ShapeError
from minitrain.nn import Temperature, pack
from minitrain.ops import scale_forward
from minitrain.optim import SGD

X = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


def gradient(layer: Temperature, dtype: type) -> float:
    layer.zero_grad()
    out, cache = layer.forward(X.astype(dtype))
    layer.backward(np.ones_like(out), cache)
    return float(layer.log_scale.grad)


def test_it_starts_as_clip_does():
    layer = Temperature()
    np.testing.assert_allclose(layer.forward(X)[0], X / 0.07, rtol=1e-6)
    assert layer.log_scale.data.shape == ()
    assert layer.parameter_count() == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_update_does_not_push_it_over_its_limit(dtype, packed):
    """Beyond the limit it would have no gradient and never come down; at the limit it has one."""
    layer = Temperature(99.0, dtype=dtype)
    if packed:
        pack(layer)
    optimizer = SGD(layer, lr=1.0)
    assert gradient(layer, dtype) > 1
    optimizer.step(-1.0)  # uphill, far over the limit
    np.testing.assert_allclose(layer.log_scale.data, math.log(100), rtol=1e-6)
    np.testing.assert_allclose(layer.forward(X.astype(dtype))[0], 100 * X, rtol=1e-6)
    assert gradient(layer, dtype) == pytest.approx(100 * X.sum(), rel=1e-5)
    optimizer.step(1e-3)
    assert layer.log_scale.data < math.log(100) - 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_beyond_the_limit_nothing_moves(dtype):
    layer = Temperature(99.0, dtype=dtype)
    layer.log_scale.data[...] += 1  # by hand: an update does not get there
    np.testing.assert_allclose(layer.forward(X.astype(dtype))[0], 100 * X, rtol=1e-6)
    assert gradient(layer, dtype) == 0


def test_no_limit():
    out, _ = scale_forward(X, np.array(math.log(1e6), np.float32), limit=math.inf)
    np.testing.assert_allclose(out, 1e6 * X, rtol=1e-5)


@pytest.mark.parametrize("initial", [0.0, -1.0, 100.5])
def test_an_impossible_start_is_named(initial):
    with pytest.raises(ConfigError, match=f"initial = {initial} must be positive and at most limit = 100"):
        Temperature(initial)


def test_wrong_arguments_are_named():
    with pytest.raises(ShapeError, match=r"scale_forward: limit = 0 must be positive; math.inf means no limit"):
        scale_forward(X, np.array(0, np.float32), limit=0)
    with pytest.raises(ShapeError, match=r"scale_forward: log_scale has shape \(1,\), expected 0 dimensions"):
        scale_forward(X, np.zeros(1, np.float32))
