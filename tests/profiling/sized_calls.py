"""A call of each operation for given sizes: what the tables of cost on the pages of docs/ops are evaluated for.

The names of the sizes are those of the page's formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitrain.random import Key

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional arguments and options of a forward."""


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def ids(size: int, *shape: int) -> Any:
    return np.random.default_rng(1).integers(0, size, shape)


def call(*args: Any, **options: Any) -> Arguments:
    return args, options


def two(*shape: int) -> Arguments:
    return call(normal(*shape), normal(*shape))


SIZED: dict[str, Callable[..., Arguments]] = {
    "attention": lambda B, T, S, H, D: call(normal(B, T, H, D), normal(B, S, H, D), normal(B, S, H, D)),
    "avg_pool2d": lambda B, C, H, W, K: call(normal(B, C, H * K, W * K), kernel=K),
    "binary_cross_entropy": lambda N, C: two(N, C),
    "binary_focal": lambda N: call(normal(N), ids(2, N)),
    "concat": lambda R, N, M: call(normal(R, N), normal(R, M), axis=1),
    "conv2d": lambda B, C, O, H, W, K: call(normal(B, C, H, W), normal(O, C, K, K), normal(O), padding=K // 2),
    "cross_entropy": lambda N, V: call(normal(N, V), ids(V, N)),
    "drop_path": lambda B, N: call(normal(B, N), p=0.5, key=Key.from_seed(0)),
    "dropout": lambda B, N: call(normal(B, N), p=0.5, key=Key.from_seed(0)),
    "embedding": lambda N, V, C: call(ids(V, N), normal(V, C)),
    "float8_linear": lambda R, K, N: call(normal(R, K), normal(N, K), normal(N)),
    "focal": lambda N, V: call(normal(N, V), ids(V, N)),
    "geglu": lambda N: two(N),
    "gelu": lambda N: call(normal(N)),
    "gelu_linear": lambda R, K, N: call(normal(R, K), normal(N, K), normal(N)),
    "group_norm": lambda B, C, G, S: call(normal(B, C * G, S), normal(C * G), normal(C * G), groups=G),
    "hinge": lambda N: call(normal(N), 2 * ids(2, N) - 1),
    "huber": lambda N: two(N),
    "info_nce": lambda N, C: call(normal(N, C), normal(N, C), normal()),
    "kl_divergence": lambda N, V: call(normal(N, V), abs(normal(N, V))),
    "l2_normalize": lambda R, C: call(normal(R, C)),
    "layer_norm": lambda R, C: call(normal(R, C), normal(C), normal(C)),
    "linear": lambda R, K, N: call(normal(R, K), normal(N, K), normal(N)),
    "linear_cross_entropy": lambda N, V, C: call(normal(N, C), normal(V, C), ids(V, N)),
    "load_balancing": lambda N, E, K: call(normal(N, E), ids(E, N, K)),
    "low_rank": lambda B, K, R, N: call(normal(B, K), normal(R, K), normal(N, R)),
    "max_pool2d": lambda B, C, H, W, K: call(normal(B, C, H * K, W * K), kernel=K),
    "mean_absolute_error": lambda N: two(N),
    "mean_pool": lambda B, T, C: call(normal(B, T, C)),
    "mean_squared_error": lambda N: two(N),
    "pointer": lambda B, T, S, C, V: call(
        normal(B, T, V), normal(B, T, C), normal(B, S, C), normal(B, T), ids(V, B, S)
    ),
    "relu": lambda N: call(normal(N)),
    "residual": lambda N: two(N),
    "residual_layer_norm": lambda R, C: call(normal(R, C), normal(R, C), normal(C), normal(C)),
    "residual_rms_norm": lambda R, C: call(normal(R, C), normal(R, C), normal(C)),
    "rms_norm": lambda R, C: call(normal(R, C), normal(C)),
    "rope": lambda B, T, H, D: call(normal(B, T, H, 2 * D), np.arange(T)),
    "router_z_loss": lambda N, E: call(normal(N, E)),
    "scale": lambda R, C: call(normal(R, C), normal()),
    "siglip": lambda N, C: call(normal(N, C), normal(N, C), normal(), normal()),
    "sigmoid": lambda N: call(normal(N)),
    "silu": lambda N: call(normal(N)),
    "softmax": lambda R, C: call(normal(R, C)),
    "softplus": lambda N: call(normal(N)),
    "split": lambda R, N, M: call(normal(R, N + M), at=N, axis=1),
    "supervised_contrastive": lambda N, C: call(normal(N, C), ids(2, N)),
    "swiglu": lambda N: two(N),
    "tanh": lambda N: call(normal(N)),
    "top_k_routing": lambda N, E, K: call(normal(N, E), k=K),
    "triplet": lambda N, C: call(normal(N, C), normal(N, C), normal(N, C)),
    "unlikelihood": lambda N, V: call(normal(N, V), ids(V, N)),
}
