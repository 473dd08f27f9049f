"""Cases of layers and operations on images."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...backend.arrays import Array
from ...nn.layers.conv2d import Conv2d
from ...nn.layers.conv_stem import ConvStem
from ...nn.layers.patch_embedding import PatchEmbedding
from .. import strategies as mt
from .base import Call, Extent, case, draw_sizes, maybe, normal
from .layer import layer_case


def draw_windows(draw: Any, *, dilated: bool = False) -> tuple[tuple[int, int], dict[str, Any], tuple[int, int]]:
    """Size of the windows, how they lie, and an image (height, width) that holds one or a few."""
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = draw(st.sampled_from([1, 2, (1, 3), (2, 1)]))
    padding = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    dilation = draw(st.sampled_from([1, 1, 2, (3, 1)])) if dilated else 1
    if not dilated:  # pooling: at most half a window
        padding = min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2)
    apart = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    least = [max(1, a * (k - 1) + 1 - 2 * p) for a, k, p in zip(apart, kernel, padding, strict=True)]
    image = least[0] + draw(st.integers(0, 3)), least[1] + draw(st.integers(0, 4))
    options = {"stride": stride, "padding": padding} | ({"dilation": dilation} if dilated else {})
    return kernel, options, image


@case(left_to_reference=lambda call: call.options["groups"] > 1)
def conv2d(draw: Any, extent: Extent) -> Call:
    kernel, options, image = draw_windows(draw, dilated=True)
    groups, part = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 2))
    B, per_group = draw_sizes(draw, extent.batch, st.integers(1, 3))
    O = groups * per_group
    weight = normal(draw, O, part, *kernel)
    x = normal(draw, B, groups * part, *image)
    return Call((x, weight, maybe(draw, lambda: normal(draw, O))), options | {"groups": groups})


@case()
def avg_pool2d(draw: Any, extent: Extent) -> Call:
    kernel, options, image = draw_windows(draw)
    B, C = draw_sizes(draw, extent.batch, st.integers(1, 3))
    if draw(st.booleans()):
        del options["stride"]
    return Call((normal(draw, B, C, *image),), options | {"kernel": kernel})


@case()
def max_pool2d(draw: Any, extent: Extent) -> Call:
    call = avg_pool2d(draw, extent)
    return Call((apart(draw, call.inputs[0].shape),), call.options)


def apart(draw: Any, shape: tuple[int, ...], gap: float = 0.05) -> Array:
    """Numbers that all differ by ``gap`` or more: finite differences must not change which is the largest."""
    size = int(np.prod(shape))
    order = np.random.default_rng(draw(mt.seeds())).permutation(size)
    return gap * (order.reshape(shape) - size / 2)


def images(rng: np.random.Generator) -> tuple[Array, ...]:
    """Two images x (B, C, H, W) = (2, 4, 4, 6)."""
    return (rng.standard_normal((2, 4, 4, 6)),)


layer_case("convolution", lambda rng: Conv2d(4, 3, (2, 3), rng, padding=1), images)
layer_case("convolution, strided, groups", lambda rng: Conv2d(4, 6, 2, rng, stride=2, groups=2, bias=False), images)
layer_case("patch embedding", lambda rng: PatchEmbedding(4, 2, 5, rng), images)
layer_case("patch embedding without bias", lambda rng: PatchEmbedding(4, 1, 5, rng, bias=False), images)
layer_case("stem of convolutions", lambda rng: ConvStem(4, 2, 3, rng), images)
