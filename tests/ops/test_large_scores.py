"""Losses and attention where scores are large: digits that all classes share cost nothing."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.ops import (
    attention_backward,
    attention_forward,
    cross_entropy_backward,
    cross_entropy_forward,
    focal_backward,
    focal_forward,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
    unlikelihood_backward,
    unlikelihood_forward,
)

N, V, C = 200, 64, 16
TARGETS = np.random.default_rng(0).integers(0, V, N)
modes = pytest.mark.parametrize("mode", ["reference", "auto"])


def linear(logits, targets, **options):
    """The head's bias makes the logits: hidden states of zeros, a row of bias for all."""
    hidden, weight = np.zeros((len(targets), C), logits.dtype), np.zeros((V, C), logits.dtype)
    return linear_cross_entropy_forward(hidden, weight, targets, logits[0], **options)


LOSSES = {
    "cross_entropy": (cross_entropy_forward, lambda d, cache: cross_entropy_backward(d, cache)[0], {}),
    "smoothed": (
        cross_entropy_forward,
        lambda d, cache: cross_entropy_backward(d, cache)[0],
        {"label_smoothing": 0.1, "class_weight": True},
    ),
    "without the others": (
        cross_entropy_forward,
        lambda d, cache: cross_entropy_backward(d, cache)[0],
        {"label_smoothing": 0.1, "others_only": True},
    ),
    "focal": (focal_forward, lambda d, cache: focal_backward(d, cache)[0], {}),
    "unlikelihood": (unlikelihood_forward, lambda d, cache: unlikelihood_backward(d, cache)[0], {}),
    "linear": (linear, lambda d, cache: linear_cross_entropy_backward(d, cache)[3] / N, {}),
}


def loss_and_gradient(name, logits):
    """The mean loss, and the gradient of the total."""
    forward, backward, options = LOSSES[name]
    options = dict(options)
    weight = (np.linspace(0.5, 2, V).astype(logits.dtype),) if options.pop("class_weight", False) else ()
    loss, cache = forward(logits, TARGETS, *weight, **options)
    return float(loss.total) / N, backward(1.0, cache)


@modes
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("offset", "spread"), [(1e4, 1e-3), (-1e4, 1.0), (30.0, 3.0), (0.0, 3.0)])
def test_an_offset_of_all_logits_costs_no_digits(name, mode, offset, spread):
    logits = (offset + spread * np.random.default_rng(1).standard_normal((N, V))).astype(np.float32)
    with use_kernels("reference"):
        loss, gradient = loss_and_gradient(name, logits.astype(np.float64))
    with use_kernels(mode):
        single_loss, single_gradient = loss_and_gradient(name, logits)
    assert abs(single_loss - loss) <= 3e-7 * max(1, loss)
    assert abs(single_gradient - gradient).max() <= 1e-6 * max(1, abs(gradient).max())


@pytest.mark.parametrize("causal", [False, True])
def test_the_reference_of_attention_is_no_less_exact_than_its_kernel(causal):
    squares = {"reference": np.zeros(3), "auto": np.zeros(3)}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        q, k, v = (30 * rng.standard_normal((2, 48, 2, 16)).astype(np.float32) for _ in range(3))
        dout = rng.standard_normal(q.shape).astype(np.float32)

        def gradients(dtype, q=q, k=k, v=v, dout=dout):
            _, cache = attention_forward(*(x.astype(dtype) for x in (q, k, v)), causal=causal)
            return attention_backward(dout.astype(dtype), cache)[:3]

        with use_kernels("reference"):
            exact = gradients(np.float64)
        for mode, total in squares.items():
            with use_kernels(mode):
                total += [((a - e) ** 2).mean() for a, e in zip(gradients(np.float32), exact, strict=True)]
    assert (squares["reference"] <= 1.2 * squares["auto"]).all(), squares
