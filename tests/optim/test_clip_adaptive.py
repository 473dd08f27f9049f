"""Adaptive clipping: gradients are limited to a part of the size of their own weights, unit by unit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.nn import Module, Parameter, pack
from minitrain.optim import clip_adaptive


class Weights(Module):
    def __init__(self, rng, dtype=np.float64):
        self.matrix = Parameter(rng.standard_normal((4, 6)).astype(dtype))
        self.filters = Parameter(rng.standard_normal((3, 2, 5)).astype(dtype))
        self.vector = Parameter(rng.standard_normal(7).astype(dtype))
        self.head = Parameter(rng.standard_normal((2, 6)).astype(dtype))
        for parameter in self.parameters():
            parameter.grad[...] = 10.0 ** rng.uniform(-3, 1) * rng.standard_normal(parameter.data.shape)


def by_hand(weight, grad, ratio, eps, count):
    """The paper's equation 3, one unit after the other, on the mean gradient."""
    units = range(len(weight)) if weight.ndim > 1 else [slice(None)]
    clipped = grad / count
    for i in units:
        w, g = np.linalg.norm(weight[i]), np.linalg.norm(clipped[i])
        if g / max(w, eps) > ratio:
            clipped[i] *= ratio * max(w, eps) / g
    return clipped


@given(
    seed=st.integers(0, 999),
    ratio=st.sampled_from([0.01, 0.2, 100.0]),
    eps=st.sampled_from([1e-3, 2.0]),
    count=st.sampled_from([1.0, 12.0]),
    packed=st.booleans(),
)
@settings(max_examples=30)
def test_every_unit_is_clipped_by_its_own_weights(seed, ratio, eps, count, packed):
    model = Weights(np.random.default_rng(seed))
    if packed:
        pack(model)
    expected = {
        path: by_hand(parameter.data, parameter.grad.copy(), ratio, eps, count)
        for path, parameter in model.named_parameters()
    }
    scale = clip_adaptive(model, ratio, eps=eps, count=count)
    assert scale == 1 / count
    for path, parameter in model.named_parameters():
        np.testing.assert_allclose(scale * parameter.grad, expected[path], rtol=1e-12)


def test_only_what_matches_is_clipped():
    model = Weights(np.random.default_rng(0))
    model.vector.trainable = False
    before = {path: parameter.grad.copy() for path, parameter in model.named_parameters()}
    clip_adaptive(model, 1e-6, match=lambda path, parameter: path != "head")
    changed = {path for path, p in model.named_parameters() if not np.array_equal(p.grad, before[path])}
    assert changed == {"matrix", "filters"}


def test_zeros_stay_zeros():
    model = Weights(np.random.default_rng(0), np.float32)
    model.matrix.data[...] = 0
    model.matrix.grad[0] = 0
    assert clip_adaptive(model, 0.5, count=0) == 0.0
    assert not model.matrix.grad[0].any()
    model.filters.data[...] = 0
    model.filters.grad[...] = 1
    clip_adaptive(model, 0.5, match="filters")
    np.testing.assert_allclose(np.linalg.norm(model.filters.grad.reshape(3, -1), axis=1), 0.5 * 1e-3, rtol=1e-6)
    assert model.filters.grad.dtype == np.float32


def test_gradients_whose_squares_overflow_are_clipped_not_erased():
    model = Weights(np.random.default_rng(0), np.float32)
    model.vector.grad[...] = 1e25
    clip_adaptive(model, 0.5)
    expected = 0.5 * np.linalg.norm(model.vector.data)
    np.testing.assert_allclose(np.linalg.norm(model.vector.grad), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_ratio": 0}, "clip_adaptive: max_ratio = 0 must be more than 0"),
        ({"eps": math.nan}, "clip_adaptive: eps = nan must be 0 or more"),
        ({"match": "matrices"}, "'matrices' matches no parameter; the nearest path is matrix"),
    ],
)
def test_mistakes_are_explained(options, message):
    with pytest.raises(ConfigError, match=message):
        clip_adaptive(Weights(np.random.default_rng(0)), **options)
