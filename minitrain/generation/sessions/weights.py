"""Weights of 16 and 8 bits for decoding: a step waits for memory, so fewer bytes are fewer seconds.

bfloat16 keeps 8 bits of each number. int8 keeps 8 bits of each number relative to the largest of its row, whose scale
is a float32 number (as in Dettmers et al., 2022, arXiv:2208.07339, without the outliers' special treatment).
Activations and sums stay float32. Norms and biases are not rounded. The table of tokens is rounded where it is the
head's matrix, too.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...backend.precision import half_dtype
from ...errors import ConfigError, did_you_mean

WEIGHTS = ("float32", "bfloat16", "int8")
"""The types of weights that decoding knows."""
LARGEST = 127


def check_weights(weights: str) -> None:
    """Raise a ``ConfigError`` unless decoding knows this type of weights."""
    if weights not in WEIGHTS:
        raise ConfigError(f"weights={weights!r}: {did_you_mean(weights, WEIGHTS)}use one of {', '.join(WEIGHTS)}")


def quantize(weight: Array) -> tuple[Array, Array]:
    """A matrix (N, K) as int8 numbers (N, K) and the scale (N,) of each row."""
    scale = (abs(weight).max(axis=1) / np.float32(LARGEST)).astype(np.float32)  # (N,)
    safe = np.where(scale > 0, scale, np.float32(1))  # a row of zeros
    return np.rint(weight / safe[:, None]).astype(np.int8), safe


def rounded(weight: Array, weights: str) -> Array:
    """A float32 matrix (N, K) with the values that decoding with these weights multiplies."""
    if weights == "bfloat16":
        return weight.astype(half_dtype("bfloat16")).astype(np.float32)
    if weights == "int8":
        numbers, scale = quantize(weight)
        return numbers.astype(np.float32) * scale[:, None]
    return weight


def with_weights(model: Any, weights: str) -> Any:
    """A copy of a decoder whose matrices are rounded as decoding with these weights rounds them.

    Its forward shows what they cost, in perplexity for instance.

    Args:
        model: a decoder.
        weights: ``"float32"`` (no copy then), ``"bfloat16"`` or ``"int8"``.

    Raises:
        ConfigError: if there are no such weights.
    """
    check_weights(weights)
    if weights == "float32":
        return model
    model = copy.deepcopy(model)
    layers = [part for block in model.blocks for part in block.modules()] + [model.head]
    for parameter in {id(p): p for part in layers for p in part.parameters() if p.data.ndim == 2}.values():
        parameter.data[...] = rounded(parameter.data, weights)
    return model
