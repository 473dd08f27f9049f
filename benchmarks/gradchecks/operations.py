"""Operations with right backwards, which the cases spoil."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def softmax(x: Array) -> tuple[Array, Array]:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dout: Array, y: Array) -> Array:
    return y * (dout - (dout * y).sum(axis=-1, keepdims=True))


def layer_norm(x: Array, weight: Array, bias: Array) -> tuple[Array, Any]:
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred * rstd * weight + bias, (centred * rstd, rstd, weight)


def layer_norm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    xhat, rstd, weight = cache
    g = dout * weight
    dx = rstd * (g - g.mean(axis=-1, keepdims=True) - xhat * (g * xhat).mean(axis=-1, keepdims=True))
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)


def rms_norm(x: Array, weight: Array) -> tuple[Array, Any]:
    rstd = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
    return x * rstd * weight, (x, rstd, weight)


def rms_norm_backward(dout: Array, cache: Any) -> tuple[Array, Array]:
    x, rstd, weight = cache
    g = dout * weight
    return rstd * g - x * rstd**3 * (g * x).mean(axis=-1, keepdims=True), (dout * x * rstd).sum(axis=0)


def linear(x: Array, weight: Array, bias: Array) -> tuple[Array, Any]:
    return x @ weight.T + bias, (x, weight)


def linear_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, weight = cache
    return dout @ weight, dout.T @ x, dout.sum(axis=0)


def attention(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    """Causal, of one head: q (T, D), k and v (T, D)."""
    scores = q @ k.T / np.sqrt(q.shape[-1])
    scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
    p, _ = softmax(scores)
    return p @ v, (q, k, v, p)


def attention_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    q, k, v, p = cache
    ds = softmax_backward(dout @ v.T, p) / np.sqrt(q.shape[-1])
    return ds @ k, ds.T @ q, p.T @ dout


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Any]:
    """The sum over rows."""
    p, _ = softmax(logits)
    rows = np.arange(len(targets))
    return -np.log(p[rows, targets]).sum(), (p, targets)


def cross_entropy_backward(dout: Array, cache: Any) -> tuple[Array, None]:
    p, targets = cache
    return dout * (p - np.eye(p.shape[-1])[targets]), None


def log_sum_exp(x: Array) -> tuple[Array, Array]:
    top = x.max(axis=-1)
    e = np.exp(x - top[..., None])
    return top + np.log(e.sum(axis=-1)), e / e.sum(axis=-1, keepdims=True)


def log_sum_exp_backward(dout: Array, p: Array) -> Array:
    return dout[..., None] * p


def embedding(weight: Array, ids: Array) -> tuple[Array, Any]:
    return weight[ids], (weight.shape, ids)


def embedding_backward(dout: Array, cache: Any) -> tuple[Array, None]:
    shape, ids = cache
    dweight = np.zeros(shape)
    np.add.at(dweight, ids, dout)
    return dweight, None


C = np.sqrt(2 / np.pi)


def gelu(x: Array) -> tuple[Array, Array]:
    """The form with tanh."""
    return 0.5 * x * (1 + np.tanh(C * (x + 0.044715 * x**3))), x


def gelu_backward(dout: Array, x: Array) -> Array:
    t = np.tanh(C * (x + 0.044715 * x**3))
    return dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * C * (1 + 3 * 0.044715 * x * x))


def conv1d(x: Array, kernel: Array) -> tuple[Array, Any]:
    """Valid correlation of x (T,) and kernel (K,)."""
    return np.correlate(x, kernel, mode="valid"), (x, kernel)


def conv1d_backward(dout: Array, cache: Any) -> tuple[Array, Array]:
    x, kernel = cache
    return np.convolve(dout, kernel), np.correlate(x, dout, mode="valid")


def square(x: Array) -> tuple[Array, Array]:
    return x * x, x


def square_backward(dout: Array, x: Array) -> Array:
    return 2 * x * dout


def cumsum(x: Array) -> tuple[Array, None]:
    return np.cumsum(x, axis=-1), None


def cumsum_backward(dout: Array, _: None) -> Array:
    return np.cumsum(dout[..., ::-1], axis=-1)[..., ::-1].copy()


def row_max(x: Array) -> tuple[Array, Any]:
    return x.max(axis=-1), x == x.max(axis=-1, keepdims=True)


def row_max_backward(dout: Array, hit: Array) -> Array:
    return dout[..., None] * hit / hit.sum(axis=-1, keepdims=True)


def total_square(x: Array) -> tuple[Array, Array]:
    return np.asarray((x * x).sum()), x


def normalised(x: Array) -> tuple[Array, Any]:
    length = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return x / length, (x / length, length)


def normalised_backward(dout: Array, cache: Any) -> Array:
    y, length = cache
    return (dout - y * (dout * y).sum(axis=-1, keepdims=True)) / length


def mean_rows(x: Array) -> tuple[Array, int]:
    return x.mean(axis=0), len(x)


def mean_rows_backward(dout: Array, count: int) -> Array:
    return np.repeat(dout[None] / count, count, axis=0)
