"""Convolution and what is made of it: patches and pooling."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.errors import ConfigError, ShapeError
from minitrain.nn import PatchEmbedding
from minitrain.ops import SKIP


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Patches.


def test_patches_are_read_row_by_row():
    """Each vector is the product of the weight and one patch, cut out by hand."""
    layer = PatchEmbedding(3, 2, 5, generator(), dtype=np.float64)
    layer.project.bias.data[...] = np.arange(5)
    x = generator(1).standard_normal((2, 3, 4, 6))
    out, _ = layer.forward(x)
    assert out.shape == (2, 6, 5)
    for b, n in np.ndindex(2, 6):
        top, left = 2 * (n // 3), 2 * (n % 3)
        patch = x[b, :, top : top + 2, left : left + 2]
        np.testing.assert_allclose(out[b, n], layer.project.weight.data @ patch.reshape(-1) + np.arange(5), rtol=1e-12)


def test_the_gradient_of_an_image_can_be_skipped():
    layer = PatchEmbedding(3, 2, 5, generator(), dtype=np.float64)
    x = generator(1).standard_normal((2, 3, 4, 6))
    out, cache = layer.forward(x)
    assert layer.backward(np.ones_like(out), cache, dx=SKIP) is None
    skipped = layer.project.weight.grad.copy()
    layer.zero_grad()
    assert layer.backward(np.ones_like(out), cache).shape == x.shape
    np.testing.assert_array_equal(layer.project.weight.grad, skipped)
    assert skipped.any()


def test_images_that_do_not_fit_are_named():
    layer = PatchEmbedding(3, 4, 5, generator())
    with pytest.raises(
        ShapeError, match=r"x has shape \(2, 3, 8, 10\), .* and W multiples of patch = 4"
    ):
        layer.forward(np.zeros((2, 3, 8, 10), np.float32))
    with pytest.raises(ShapeError, match=r"x has shape \(2, 1, 8, 8\)"):
        layer.forward(np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(ShapeError, match=r"x has shape \(3, 8, 8\)"):
        layer.forward(np.zeros((3, 8, 8), np.float32))
    with pytest.raises(ConfigError, match="channels=3 and patch=0 must be 1 or more"):
        PatchEmbedding(3, 0, 5, generator())


def test_no_images_give_no_vectors():
    layer = PatchEmbedding(3, 2, 5, generator())
    out, cache = layer.forward(np.zeros((0, 3, 4, 6), np.float32))
    assert out.shape == (0, 6, 5)
    assert layer.backward(out, cache).shape == (0, 3, 4, 6)
    assert not layer.project.weight.grad.any()
