"""Convolution, patches and pooling of images: what the properties of all operations do not say."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.errors import ConfigError, ShapeError
from minitrain.nn import Conv2d, PatchEmbedding
from minitrain.ops import (
    SKIP,
    avg_pool2d_backward,
    avg_pool2d_forward,
    conv2d_backward,
    conv2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Convolution.


def test_a_kernel_of_one_pixel_is_a_linear_map_of_channels():
    x, weight = generator().standard_normal((2, 3, 4, 5)), generator(1).standard_normal((6, 3, 1, 1))
    out, _ = conv2d_forward(x, weight)
    np.testing.assert_allclose(out, np.einsum("bchw,oc->bohw", x, weight[:, :, 0, 0]), rtol=1e-12)


def test_groups_do_not_see_each_other():
    """As many groups as channels: each channel has a kernel of its own (depthwise convolution)."""
    x, weight = generator().standard_normal((2, 3, 4, 5)), generator(1).standard_normal((3, 1, 2, 2))
    out, cache = conv2d_forward(x, weight, groups=3)
    alone = [conv2d_forward(x[:, c : c + 1], weight[c : c + 1])[0] for c in range(3)]
    np.testing.assert_allclose(out, np.concatenate(alone, axis=1), rtol=1e-12)
    dout = np.zeros_like(out)
    dout[:, 1] = 1
    dx, dweight, _ = conv2d_backward(dout, cache)
    assert dx[:, 1].any()
    assert dweight[1].any()
    assert not dx[:, [0, 2]].any()
    assert not dweight[[0, 2]].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"groups": 3},
            r"x has C = 4 .* weight of shape \(6, 4, 3, 3\) takes 4 in each of groups = 3, so 12",
        ),
        ({"groups": 4}, r"groups = 4 must divide the O = 6 output channels"),
        ({"groups": 0}, r"groups = 0 must divide"),
        ({"stride": 0}, r"stride = 0 must be an integer of at least 1, or a tuple of two"),
        ({"padding": -1}, r"padding = -1 must be an integer of at least 0"),
        ({"dilation": (1, 2, 3)}, r"dilation = \(1, 2, 3\) must be"),
        ({"stride": 1.5}, r"stride = 1.5 must be"),
        (
            {"dilation": (1, 3)},
            r"with padding = \(0, 0\) no window of 3 x 7 fits into 5 x 6; pad more",
        ),
    ],
)
def test_wrong_options_of_convolution_are_named(options, message):
    with pytest.raises(ShapeError, match=rf"conv2d_forward: .*{message}"):
        conv2d_forward(np.zeros((2, 4, 5, 6)), np.zeros((6, 4, 3, 3)), **options)


def test_settings_of_a_layer_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="groups=3 must divide in_channels=4 and out_channels=6"):
        Conv2d(4, 6, 3, generator(), groups=3)
    with pytest.raises(ConfigError, match="in_channels=0 and out_channels=6, and all must be 1 or more"):
        Conv2d(0, 6, 3, generator())
    with pytest.raises(ShapeError, match="Conv2d: kernel = 0 must be an integer of at least 1"):
        Conv2d(4, 6, 0, generator())


def test_initial_kernels_keep_the_size_of_activations():
    """He's initialisation: after convolution and ReLU the mean square is about that of the input."""
    x = generator(1).standard_normal((4, 32, 10, 10)).astype(np.float32)
    out, _ = Conv2d(32, 64, 3, generator()).forward(x)
    assert (np.maximum(out, 0) ** 2).mean() == pytest.approx((x**2).mean(), rel=0.1)


# Pooling.


@pytest.mark.parametrize("padding", [0, 1])
def test_ties_send_the_gradient_to_the_first_maximum(padding):
    out, cache = max_pool2d_forward(np.ones((1, 1, 4, 4)), kernel=2, padding=padding)
    assert (out == 1).all()
    dx = max_pool2d_backward(np.ones_like(out), cache)[0, 0]
    first = [0, 2] if padding == 0 else [0, 1, 3]  # the last windows of a padded image hold one row and column of it
    expected = np.zeros((4, 4))
    expected[np.ix_(first, first)] = 1
    np.testing.assert_array_equal(dx, expected)


def test_overlapping_windows_add_up():
    """A maximum that three windows share gets the gradient of all three."""
    x = np.array([1.0, 2.0, 9.0, 4.0, 5.0]).reshape(1, 1, 1, 5)
    out, cache = max_pool2d_forward(x, kernel=(1, 3), stride=1)
    np.testing.assert_array_equal(out.reshape(-1), [9, 9, 9])
    np.testing.assert_array_equal(max_pool2d_backward(out, cache).reshape(-1), [0, 0, 27, 0, 0])


def test_padding_counts_in_the_mean_and_never_is_the_maximum():
    x = np.full((1, 1, 2, 2), -4.0)
    assert avg_pool2d_forward(x, kernel=2, stride=2, padding=1)[0].reshape(-1).tolist() == [-1, -1, -1, -1]
    assert max_pool2d_forward(x, kernel=2, stride=2, padding=1)[0].reshape(-1).tolist() == [-4, -4, -4, -4]


@pytest.mark.parametrize("forward", [avg_pool2d_forward, max_pool2d_forward])
def test_windows_that_do_not_fit_are_named(forward):
    with pytest.raises(ShapeError, match=rf"{forward.__name__}: .*no window of 4 x 4 fits into 3 x 5"):
        forward(np.zeros((1, 1, 3, 5)), kernel=4)
    with pytest.raises(ShapeError, match=rf"{forward.__name__}: kernel = 0 must be an integer of at least 1"):
        forward(np.zeros((1, 1, 3, 5)), kernel=0)


def test_a_window_of_padding_alone_is_refused():
    with pytest.raises(ShapeError, match=r"padding = 2 is more than half of kernel = 3"):
        max_pool2d_forward(np.zeros((1, 1, 4, 4)), kernel=3, padding=2)


def test_a_cotangent_of_another_shape_is_named():
    x, wrong = np.zeros((1, 2, 4, 4)), np.zeros((1, 2, 2, 1))
    with pytest.raises(ShapeError, match=r"dout has shape \(1, 2, 2, 1\), expected \(1, 2, 2, 2\) as the output"):
        avg_pool2d_backward(wrong, avg_pool2d_forward(x, kernel=2)[1])
    with pytest.raises(ShapeError, match=r"dout has shape \(1, 2, 2, 1\), expected \(B C Ho Wo\) with Wo = 2"):
        max_pool2d_backward(wrong, max_pool2d_forward(x, kernel=2)[1])


# Patches.


@pytest.mark.parametrize("bias", [True, False])
def test_a_patch_embedding_is_a_convolution_whose_stride_is_its_kernel(bias):
    layer = PatchEmbedding(3, 2, 5, generator(), bias=bias, dtype=np.float64)
    weight = layer.project.weight.data.reshape(5, 3, 2, 2)
    shift = generator(2).standard_normal(5) if bias else None
    if bias:
        layer.project.bias.data[...] = shift
    x, dout = generator(1).standard_normal((2, 3, 4, 6)), generator(3).standard_normal((2, 6, 5))
    out, cache = layer.forward(x)
    dx = layer.backward(dout, cache)
    image, conv_cache = conv2d_forward(x, weight, shift, stride=2)  # (B, width, 2, 3)
    np.testing.assert_allclose(out, image.reshape(2, 5, 6).swapaxes(1, 2), rtol=1e-12)
    wanted = conv2d_backward(dout.swapaxes(1, 2).reshape(image.shape), conv_cache)
    np.testing.assert_allclose(dx, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(layer.project.weight.grad, wanted[1].reshape(5, 12), rtol=1e-12)


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
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3, 8, 10\), .* and W multiples of patch = 4"):
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
