"""Eighteen mistakes that people make in every backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import operations as op
from .case import Case, always, normal

X, W, B = normal(3, 4), 1 + 0.3 * normal(4, seed=1), normal(4, seed=2)
Q, K, V = (normal(4, 3, seed=s) for s in (3, 4, 5))
LINEAR = normal(3, 4), normal(5, 4, seed=1), normal(5, seed=2)


def softmax_without_jacobian(dout: Any, y: Any) -> Any:
    return y * dout


def softmax_sum_over_wrong_axis(dout: Any, y: Any) -> Any:
    return y * (dout - (dout * y).sum(axis=0, keepdims=True))


def layer_norm_without_mean(dout: Any, cache: Any) -> Any:
    xhat, rstd, weight = cache
    g = dout * weight
    return rstd * (g - xhat * (g * xhat).mean(axis=-1, keepdims=True)), (dout * xhat).sum(axis=0), dout.sum(axis=0)


def layer_norm_without_weight(dout: Any, cache: Any) -> Any:
    xhat, rstd, _ = cache
    return op.layer_norm_backward(dout, (xhat, rstd, np.ones(4)))


def linear_transposed(dout: Any, cache: Any) -> Any:
    x, weight = cache
    return dout @ weight, (x.T @ dout).reshape(weight.shape), dout.sum(axis=0)


def linear_mean_bias(dout: Any, cache: Any) -> Any:
    dx, dweight, _ = op.linear_backward(dout, cache)
    return dx, dweight, dout.mean(axis=0)


def attention_scale_twice(dout: Any, cache: Any) -> Any:
    dq, dk, dv = op.attention_backward(dout, cache)
    return dq * np.sqrt(3), dk * np.sqrt(3), dv  # multiplied where the forward divides: the scale is gone


def attention_swapped(dout: Any, cache: Any) -> Any:
    dq, dk, dv = op.attention_backward(dout, cache)
    return dk, dq, dv


def cross_entropy_without_target(dout: Any, cache: Any) -> Any:
    p, _ = cache
    return dout * p, None


def cross_entropy_mean(dout: Any, cache: Any) -> Any:
    p, targets = cache
    return op.cross_entropy_backward(dout / len(targets), (p, targets))


def embedding_overwrites(dout: Any, cache: Any) -> Any:
    shape, ids = cache
    dweight = np.zeros(shape)
    dweight[ids] = dout  # a token that occurs twice keeps the last share only
    return dweight, None


def gelu_exact_derivative(dout: Any, x: Any) -> Any:
    """That of the form with erf, which is another function."""
    from math import erf

    cdf = 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))
    return dout * (cdf + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


def conv_shifted(dout: Any, cache: Any) -> Any:
    dx, dkernel = op.conv1d_backward(dout, cache)
    return np.roll(dx, 1), dkernel


def conv_flipped(dout: Any, cache: Any) -> Any:
    dx, dkernel = op.conv1d_backward(dout, cache)
    return dx, dkernel[::-1].copy()


def cumsum_forwards(dout: Any, _: None) -> Any:
    return np.cumsum(dout, axis=-1)


def residual(x: Any) -> Any:
    return x + np.tanh(x), np.tanh(x)


def residual_dropped(dout: Any, t: Any) -> Any:
    return dout * (1 - t * t)


def wrong_sign(dout: Any, x: Any) -> Any:
    return -2 * x * dout


def relu_of_output(x: Any) -> Any:
    return np.maximum(x, 0), x


def relu_mask_reversed(dout: Any, x: Any) -> Any:
    return dout * (x < 0)


IDS = np.array([1, 0, 1, 2])
ROWS = [
    ("softmax: only the diagonal of the Jacobian", op.softmax, softmax_without_jacobian, (X,)),
    ("softmax: the sum runs over the wrong axis", op.softmax, softmax_sum_over_wrong_axis, (X,)),
    ("layer norm: the mean's term is missing", op.layer_norm, layer_norm_without_mean, (X, W, B)),
    ("layer norm: the weight is missing in dx", op.layer_norm, layer_norm_without_weight, (X, W, B)),
    ("linear: dweight transposed, then reshaped", op.linear, linear_transposed, LINEAR),
    ("linear: the mean for the bias, not the sum", op.linear, linear_mean_bias, LINEAR),
    ("attention: 1/sqrt(d) is missing", op.attention, attention_scale_twice, (Q, K, V)),
    ("attention: dq and dk change places", op.attention, attention_swapped, (Q, K, V)),
    ("cross-entropy: the target's one is missing", op.cross_entropy, cross_entropy_without_target, (X, IDS[:3])),
    ("cross-entropy: mean backward of a sum", op.cross_entropy, cross_entropy_mean, (X, IDS[:3])),
    ("embedding: repeated ids overwrite", op.embedding, embedding_overwrites, (normal(3, 2), IDS)),
    ("GELU: derivative of the other form", op.gelu, gelu_exact_derivative, (X,)),
    ("convolution: dx shifted by one", op.conv1d, conv_shifted, (normal(7), normal(3, seed=1))),
    ("convolution: dkernel flipped", op.conv1d, conv_flipped, (normal(7), normal(3, seed=1))),
    ("cumulative sum: not reversed", op.cumsum, cumsum_forwards, (X,)),
    ("residual: the skip's share is missing", residual, residual_dropped, (X,)),
    ("square: wrong sign", op.square, wrong_sign, (X,)),
    ("ReLU: the mask the wrong way round", relu_of_output, relu_mask_reversed, (X,)),
]
CASES = [Case(name, "ordinary", always(f, b), inputs) for name, f, b, inputs in ROWS]
