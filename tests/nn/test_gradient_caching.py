"""Gradient caching: a batch-coupled loss over micro-batches has the gradient of the whole batch."""

from __future__ import annotations

import weakref
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.errors import ShapeError
from minitrain.losses import InfoNCELoss, SupervisedContrastiveLoss, gradient_caching
from minitrain.nn import ClipLoss, Linear, Module
from minitrain.nn.core.init import generator
from minitrain.ops.linear.dropout import dropout_backward, dropout_forward
from minitrain.random import Key, fold

KEY = Key.from_seed(11)
N, WIDTH, OUT = 7, 5, 4


class TowerCache:
    """An object that a weak reference can point to."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class Tower(Module):
    """Linear, dropout, linear."""

    def __init__(self, seed: int) -> None:
        rng = generator(seed)
        self.up = Linear(WIDTH, 8, rng, std=0.5, dtype=np.float64)
        self.down = Linear(8, OUT, rng, std=0.5, dtype=np.float64)

    def forward(self, x, *, key=None):
        x, up = self.up.forward(x)
        x, dropout = dropout_forward(x, p=0.4, key=key)
        x, down = self.down.forward(x)
        return x, TowerCache(up, dropout, down)

    def backward(self, dout, cache):
        up, dropout, down = cache.parts
        return self.up.backward(dropout_backward(self.down.backward(dout, down), dropout), up)


class TwoTowersCache(NamedTuple):
    image: TowerCache
    text: TowerCache


class TwoTowers(Module):
    """Features of images and of texts."""

    def __init__(self) -> None:
        self.image, self.text = Tower(1), Tower(2)

    def forward(self, image, text, *, key=None):
        image, image_cache = self.image.forward(image, key=fold(key, "image"))
        text, text_cache = self.text.forward(text, key=fold(key, "text"))
        return image, text, TwoTowersCache(image_cache, text_cache)

    def backward(self, dimage, dtext, cache):
        self.image.backward(dimage, cache.image)
        self.text.backward(dtext, cache.text)


def inputs(seed):
    return np.random.default_rng(seed).standard_normal((N, WIDTH))


def split(cuts, *arrays):
    return [tuple(x[a:b] for x in arrays) for a, b in pairwise([0, *sorted(cuts), N])]


def gradients(*modules):
    return [parameter.grad.copy() for module in modules for parameter in module.parameters()]


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert b.any()
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("key", [None, KEY, KEY.at_sample(5)], ids=["evaluation", "dropout", "later samples"])
@settings(max_examples=10)
@given(cuts=st.sets(st.integers(1, N - 1)))
def test_any_split_gives_the_gradient_of_the_whole_batch(key, cuts):
    image, text = inputs(1), inputs(2)
    model, loss_fn = TwoTowers(), ClipLoss(dtype=np.float64)
    *features, cache = model.forward(image, text, key=key)
    expected, loss_cache = loss_fn.forward(*features)
    model.backward(*loss_fn.backward(0.3, loss_cache), cache)
    whole = gradients(model, loss_fn)
    for module in (model, loss_fn):
        module.zero_grad()
    loss = gradient_caching(model, loss_fn, split(cuts, image, text), key=key, dloss=0.3)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    assert_same(gradients(model, loss_fn), whole)


def test_micro_batches_alone_have_another_gradient():
    """What the helper is for."""
    image, text = inputs(1), inputs(2)
    model, loss_fn = TwoTowers(), InfoNCELoss(0.5)
    gradient_caching(model, loss_fn, split([3], image, text))
    right = gradients(model)
    model.zero_grad()
    for part in split([3], image, text):
        *features, cache = model.forward(*part)
        model.backward(*loss_fn.backward(1.0, loss_fn.forward(*features)[1]), cache)
    assert max(abs(a - b).max() for a, b in zip(gradients(model), right, strict=True)) > 1e-3


@settings(max_examples=10)
@given(cuts=st.sets(st.integers(1, N - 1)))
def test_one_set_of_features_and_labels(cuts):
    """A reduced loss, labels for the whole batch, and gradients that add up to what was there."""
    x, labels = inputs(1), np.array([0, 1, 0, 2, 1, 0, 2])
    model, loss_fn = Tower(3), SupervisedContrastiveLoss(0.5, reduction="mean")
    features, cache = model.forward(x, key=KEY)
    expected, loss_cache = loss_fn.forward(features, labels)
    model.backward(loss_fn.backward(1.0, loss_cache), cache)
    once = gradients(model)
    loss = gradient_caching(model, loss_fn, split(cuts, x), [labels], key=KEY)
    assert loss == pytest.approx(expected)
    assert_same(gradients(model), [2 * g for g in once])


def test_no_more_than_one_cache_is_alive():
    """The activations of one micro-batch at a time, and none while the loss is computed."""
    alive, most = weakref.WeakSet(), []

    class Watched(Tower):
        def forward(self, x, *, key=None):
            out, cache = super().forward(x, key=key)
            alive.add(cache)
            most.append(len(alive))
            return out, cache

    class WatchedLoss(SupervisedContrastiveLoss):
        def forward(self, outputs, targets):
            during.append(len(alive))
            return super().forward(outputs, targets)

    during: list[int] = []
    gradient_caching(Watched(3), WatchedLoss(), split([2, 3, 5], inputs(1)), [np.arange(N) % 2])
    assert len(most) == 8
    assert max(most) == 1
    assert during == [0]


@pytest.mark.parametrize("mode", ["reference", "auto"])
def test_in_single_precision(mode):
    image, text = inputs(1).astype(np.float32), inputs(2).astype(np.float32)
    model, loss_fn = TwoTowers(), InfoNCELoss(0.5)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float32)
    with use_kernels(mode):
        gradient_caching(model, loss_fn, split([], image, text), key=KEY)
        whole = gradients(model)
        model.zero_grad()
        gradient_caching(model, loss_fn, split([1, 4], image, text), key=KEY)
    for a, b in zip(gradients(model), whole, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_no_micro_batches_are_refused():
    with pytest.raises(ShapeError, match="gradient_caching: there are no micro-batches; give at least one"):
        gradient_caching(TwoTowers(), InfoNCELoss(), [])
