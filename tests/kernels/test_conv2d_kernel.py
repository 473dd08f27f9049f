"""The convolution's kernels sum weight gradients over blocks of images, whatever the number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend.targets import SKIP, Into
from minitrain.backend.threads import set_threads
from minitrain.kernels.cpu.images import conv2d as kernels
from minitrain.ops.images.conv2d import conv2d_backward, conv2d_forward

SHAPES = {"stride": 2, "padding": 1}


def arrays(B: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(B)
    return tuple(
        rng.standard_normal(shape).astype(np.float32) for shape in ((B, 5, 11, 9), (6, 5, 3, 3), (6,), (B, 6, 6, 5))
    )


@pytest.mark.parametrize("B", [1, 7, 8, 9, 19])
@pytest.mark.parametrize("largest", [1, 1 << 22], ids=["one block", "blocks of eight"])
def test_any_number_of_blocks_has_the_gradients_of_the_reference(
    B: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "LARGEST_SUMS", largest)
    x, weight, bias, dout = arrays(B)
    out, cache = conv2d_forward(x, weight, bias, **SHAPES)
    wanted, its_cache = conv2d_forward.reference(x, weight, bias, **SHAPES)
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-4)
    expected = conv2d_backward.reference(dout, its_cache)
    start = [np.full_like(one, 3) for one in expected]
    added = [one.copy() for one in start]
    for found in (
        conv2d_backward(dout, cache),
        conv2d_backward(dout, cache, into=(None, None, None)),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    conv2d_backward(dout, cache, into=tuple(Into(one, accumulate=True) for one in added))
    for one, other in zip(added, expected, strict=True):
        np.testing.assert_allclose(one - 3, other, rtol=1e-4, atol=1e-4)


def test_gradients_that_nobody_wants_change_no_other() -> None:
    x, weight, bias, dout = arrays(9)
    _, cache = conv2d_forward(x, weight, bias, **SHAPES)
    whole = conv2d_backward(dout, cache)
    for left in range(3):
        targets = [None, None, None]
        targets[left] = SKIP
        found = conv2d_backward(dout, cache, into=targets)
        assert found[left] is None
        for i in {0, 1, 2} - {left}:
            np.testing.assert_array_equal(found[i], whole[i])


def test_threads_change_no_bit() -> None:
    x = arrays(33)[0]
    weight = np.random.default_rng(0).standard_normal((64, 5, 3, 3)).astype(np.float32)
    dout = np.random.default_rng(1).standard_normal((33, 64, 6, 5)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 8):
        set_threads(threads)
        try:
            out, cache = conv2d_forward(x, weight, None, **SHAPES)
            results.append((out, *conv2d_backward(dout, cache)[:2]))
        finally:
            set_threads(None)
    for other in results[1:]:
        for one, first in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(one, first)


def test_a_bias_of_large_images_keeps_its_digits() -> None:
    """A running sum of float32 numbers would be off by a thousandth."""
    x, weight = np.zeros((2, 1, 400, 400), np.float32), np.zeros((1, 1, 1, 1), np.float32)
    _, cache = conv2d_forward(x, weight, np.zeros(1, np.float32))
    dout = np.full((2, 1, 400, 400), 0.1, np.float32)
    assert conv2d_backward(dout, cache)[2] == pytest.approx(dout.sum(dtype=np.float64), rel=1e-6)
