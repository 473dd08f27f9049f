"""A backward whose input is recomputed multiplies in the precision of its forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.backend.precision import use_precision
from minitrain.nn.adapters.lora import LoRALinear
from minitrain.nn.layers.feed_forward import FeedForward
from minitrain.nn.layers.gated_feed_forward import GatedFeedForward
from minitrain.nn.layers.linear import Linear
from minitrain.ops.contract.op import observe

LAYERS: dict[str, Callable[[np.random.Generator], Any]] = {
    "linear": lambda rng: Linear(8, 6, rng),
    "linear without bias": lambda rng: Linear(8, 6, rng, bias=False),
    "linear with an adapter": lambda rng: LoRALinear(Linear(8, 6, rng), 2, 3.0, rng),
    "feed-forward": lambda rng: FeedForward(8, 6, rng),
    "gated feed-forward": lambda rng: GatedFeedForward(8, 6, rng),
}


def gradients(layer: Any, x: np.ndarray, dout: np.ndarray, forget: bool) -> list[np.ndarray]:
    layer.zero_grad()
    _, cache = layer.forward(x)
    if forget:
        cache = layer.recall_input(layer.forget_input(cache), x)
    dx = layer.backward(dout[..., : layer.forward(x)[0].shape[-1]], cache)
    return [dx, *(parameter.grad for parameter in layer.parameters() if parameter.trainable)]


@pytest.mark.parametrize("mode", ["auto", "reference"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_have_the_same_bytes_as_those_of_a_kept_input(name: str, precision: str, mode: str) -> None:
    rng = np.random.default_rng(0)
    x, dout = (rng.standard_normal((3, 5, 8), np.float32) for _ in range(2))
    layer = LAYERS[name](np.random.default_rng(1))
    with use_kernels(mode), use_precision(precision):
        kept, recalled = ([np.array(g) for g in gradients(layer, x, dout, forget)] for forget in (False, True))
    assert len(kept) > 1
    for a, b in zip(kept, recalled, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_product_of_a_backward_has_32_bits_under_16() -> None:
    """The gated layer recomputes the input of its last map in every backward."""
    layer = GatedFeedForward(8, 6, np.random.default_rng(1))
    x, seen = np.random.default_rng(0).standard_normal((2, 3, 8), np.float32), []

    def watch(function: Any, args: Any, options: Any) -> Any:
        if function.__name__ == "linear_backward":
            seen.append(args[1].x.dtype.name)
        observe(None)
        try:
            return function(*args, **options)
        finally:
            observe(watch)

    with use_precision("bfloat16"):
        _, cache = layer.forward(x)
        observe(watch)
        try:
            layer.backward(x, cache)
        finally:
            observe(None)
    assert seen == ["bfloat16"] * 3
