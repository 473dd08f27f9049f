"""The second half of a feed-forward layer: its kernel's blocks of rows, and activations that nobody keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.backend import is_array, use_kernels
from minitrain.kernels.cpu.linear import gelu_linear
from minitrain.nn import FeedForward, GatedFeedForward, Linear, LoRALinear
from minitrain.ops import SKIP, Into, gelu_linear_backward, gelu_linear_forward

K, N = 40, 5  # more columns than a thread's sixteen


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("rows", [1, 7, 30, 1024])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_the_kernel_works_on_some_rows_at_a_time(monkeypatch, rows, accumulate, approximate):
    """The parts add up to the reference, into given buffers too."""
    monkeypatch.setattr(gelu_linear, "ROWS", rows)
    hidden, weight, bias, dout = normal(3, 10, K), normal(N, K), normal(N), normal(3, 10, N)
    results = []
    for mode in ("auto", "reference"):
        with use_kernels(mode):
            out, cache = gelu_linear_forward(hidden, weight, bias, approximate=approximate)
            buffers = [np.full_like(a, 2) for a in (hidden, weight, bias)]
            gelu_linear_backward(dout, cache, into=[Into(buffer, accumulate) for buffer in buffers])
            results.append([out, *buffers])
    for fast, reference in zip(*results, strict=True):
        np.testing.assert_allclose(fast, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_a_gradient_nobody_wants_changes_no_bit_of_the_others(skipped):
    _, cache = gelu_linear_forward(normal(30, K), normal(N, K), normal(N))
    dout = normal(30, N)
    wanted: list[Any] = [None, None, None]
    wanted[skipped] = SKIP
    for all_three, two in zip(
        gelu_linear_backward(dout, cache), gelu_linear_backward(dout, cache, into=wanted), strict=True
    ):
        if two is not None:
            np.testing.assert_array_equal(two, all_three)


def kept(cache: Any) -> dict[int, Any]:
    """The arrays that a cache keeps, each once."""
    if is_array(cache):
        return {id(cache): cache}
    nested = cache if isinstance(cache, tuple) else ()
    return {key: array for part in nested for key, array in kept(part).items()}


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize(("kind", "wide"), [(FeedForward, 1), (GatedFeedForward, 2)])
def test_a_feed_forward_layer_does_not_keep_its_activation(kind, wide, mode):
    """Only its input, and what goes into the activation."""
    layer = kind(8, 32, np.random.default_rng(0))
    with use_kernels(mode):
        _, cache = layer.forward(normal(2, 3, 8))
    activations = [array.shape for array in kept(cache).values() if array.ndim == 3]
    assert sorted(activations) == [(2, 3, 8)] + wide * [(2, 3, 32)]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_an_adapter_after_gelu_equals_the_merged_layer(approximate):
    rng = np.random.default_rng(1)
    layer = LoRALinear(Linear(4, 3, rng, dtype=np.float64), 2, 6.0, rng)
    layer.lora_b.data[...] = normal(3, 2)
    hidden, dout = normal(5, 4, dtype=np.float64), normal(5, 3, dtype=np.float64)
    out, cache = layer.forward_after_gelu(hidden, approximate=approximate)
    dhidden = layer.backward_after_gelu(dout, cache)
    merged = layer.merge()
    expected, cache = merged.forward_after_gelu(hidden, approximate=approximate)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    np.testing.assert_allclose(dhidden, merged.backward_after_gelu(dout, cache), rtol=1e-12)
