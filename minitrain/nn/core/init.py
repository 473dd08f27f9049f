"""Initial weights. NumPy draws them from a seeded generator, so they are the same on every device.

Every function draws in float64 and rounds to ``dtype``. A weight is ``(out, in)``, or ``(out, in, ...)`` for a
convolution. Its *fans* are the number of inputs per output and of outputs per input.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError, ShapeError
from ...random import checked_seed
from .checks import check_generator

Mode = Literal["fan_in", "fan_out"]


_BLANK: ContextVar[bool] = ContextVar("blank", default=False)


@contextlib.contextmanager
def blank_weights() -> Iterator[None]:
    """Within the ``with`` block, weights that would be drawn by `normal` are zeros.

    A model whose weights are loaded next need not draw them first. Zeros that are never read take no memory.
    """
    token = _BLANK.set(True)
    try:
        yield
    finally:
        _BLANK.reset(token)


def generator(seed: int) -> np.random.Generator:
    """The generator of a model's initial weights.

    Args:
        seed: an integer from 0 to 2**64 - 1. Equal integers of any type give the same weights.

    Raises:
        ConfigError: for anything else.
    """
    return np.random.Generator(np.random.PCG64(checked_seed(seed)))


def normal(init_rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: Any = np.float32) -> Array:
    """Normal numbers with mean 0 and standard deviation ``std``, drawn in float64 and rounded to ``dtype``.

    Raises:
        ConfigError: if ``init_rng`` is not a generator.
    """
    check_generator(init_rng)
    if _BLANK.get():
        return np.zeros(shape, dtype)
    return (init_rng.standard_normal(shape) * std).astype(dtype)


def uniform(init_rng: np.random.Generator, shape: tuple[int, ...], bound: float, dtype: Any = np.float32) -> Array:
    """Uniform numbers in [-bound, bound]; their standard deviation is ``bound / sqrt(3)``."""
    return init_rng.uniform(-bound, bound, shape).astype(dtype)


def truncated_normal(
    init_rng: np.random.Generator,
    shape: tuple[int, ...],
    std: float,
    dtype: Any = np.float32,
    *,
    cut: float = 2.0,
) -> Array:
    """Normal numbers with mean 0, all within ``cut * std`` of it.

    Numbers outside are redrawn (rejection), so the density inside the bounds is exactly normal. The standard deviation
    of the result is smaller than ``std``: 0.88 of it at the default cut.

    Args:
        init_rng: source of the numbers.
        shape: of the result.
        std: standard deviation before the cut.
        dtype: of the result.
        cut: where the tails are cut off, in standard deviations.

    Raises:
        ConfigError: if the cut is below 0.1, where rejection would take too long.
    """
    if not cut >= 0.1:
        raise ConfigError(f"truncated_normal: cut = {cut} must be at least 0.1 (standard deviations)")
    x = init_rng.standard_normal(shape)
    while np.any(outside := np.abs(x) > cut):
        x[outside] = init_rng.standard_normal(int(np.count_nonzero(outside)))
    # Rounding to a smaller dtype must not move a number past the bound.
    bound = np.nextafter(np.asarray(cut * std, dtype), np.asarray(0, dtype))
    return np.clip((x * std).astype(dtype), -bound, bound)  # type: ignore[no-any-return]


def xavier_uniform(
    init_rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float32, *, gain: float = 1.0
) -> Array:
    """Uniform with variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot, Bengio, AISTATS 2010)."""
    return uniform(init_rng, shape, math.sqrt(3) * _xavier_std(shape, gain), dtype)


def xavier_normal(
    init_rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float32, *, gain: float = 1.0
) -> Array:
    """Normal with variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot, Bengio, AISTATS 2010).

    It is a compromise: signals keep their variance in the forward with 1 / fan_in, gradients in the backward with
    1 / fan_out.
    """
    return normal(init_rng, shape, _xavier_std(shape, gain), dtype)


def kaiming_uniform(
    init_rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: Any = np.float32,
    *,
    gain: float = math.sqrt(2),
    mode: Mode = "fan_in",
) -> Array:
    """Uniform with variance ``gain^2 / fan`` (He et al., 2015, arXiv:1502.01852); see ``gain_of``."""
    return uniform(init_rng, shape, math.sqrt(3) * _kaiming_std(shape, gain, mode), dtype)


def kaiming_normal(
    init_rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: Any = np.float32,
    *,
    gain: float = math.sqrt(2),
    mode: Mode = "fan_in",
) -> Array:
    """Normal with variance ``gain^2 / fan`` (He et al., 2015, arXiv:1502.01852); see ``gain_of``.

    Args:
        init_rng: source of the numbers.
        shape: (out, in) or (out, in, ...).
        dtype: of the result.
        gain: compensates for the variance that the activation loses; by default that of ReLU.
        mode: ``"fan_in"`` keeps the variance of signals in the forward, ``"fan_out"`` that of gradients.

    Raises:
        ConfigError: if the mode is neither.
        ShapeError: if the shape has no fans.
    """
    return normal(init_rng, shape, _kaiming_std(shape, gain, mode), dtype)


def orthogonal(
    init_rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float32, *, gain: float = 1.0
) -> Array:
    """A random orthogonal matrix times ``gain`` (Saxe, McClelland, Ganguli, 2014, arXiv:1312.6120).

    The rows are orthonormal, or the columns if there are fewer of them. All orthogonal matrices are equally likely: the
    factor Q of a normal matrix is multiplied by the signs of R's diagonal, which would otherwise depend on the
    algorithm.

    Args:
        init_rng: source of the numbers.
        shape: (out, in), or (out, in, ...), which counts as (out, product of the others).
        dtype: of the result.
        gain: factor of the matrix; all its singular values.

    Raises:
        ShapeError: if the shape has fewer than two axes.
    """
    fans(shape)
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(init_rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.copysign(1.0, np.diag(r))
    matrix = q if rows >= columns else q.T  # (rows, columns)
    return (gain * matrix).reshape(shape).astype(dtype)


def residual_std(std: float, layers: int, writes: int = 2) -> float:
    """GPT-2's standard deviation of the weights that write to the residual stream (Radford et al., 2019).

    The stream is a sum of ``writes * layers`` terms. Dividing each by the square root of their number keeps the
    variance of the sum.

    Args:
        std: standard deviation of all other weights.
        layers: number of blocks.
        writes: how many times a block writes to the stream; by default after attention and the feed-forward layer.
    """
    return std / math.sqrt(writes * layers)


GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def gain_of(activation: str, negative_slope: float = 0.01) -> float:
    """The usual gain before an activation, for the initialisers that take one.

    Args:
        activation: a name in ``GAINS``, or ``"leaky_relu"``.
        negative_slope: of a leaky ReLU, whose gain is ``sqrt(2 / (1 + negative_slope^2))``.

    Raises:
        ConfigError: if the activation has no usual gain.
    """
    if activation == "leaky_relu":
        return math.sqrt(2 / (1 + negative_slope**2))
    if activation not in GAINS:
        raise ConfigError(f"gain_of: no gain is known for {activation!r}; known: {', '.join([*GAINS, 'leaky_relu'])}")
    return GAINS[activation]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """``(fan_in, fan_out)`` of a weight (out, in), or (out, in, ...) of a convolution, whose window multiplies both.

    Raises:
        ShapeError: if the shape has fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(f"a weight of shape {shape} has no fans: this initialiser is for (out, in) or (out, in, ...)")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _xavier_std(shape: tuple[int, ...], gain: float) -> float:
    return gain * math.sqrt(2 / max(1, sum(fans(shape))))


def _kaiming_std(shape: tuple[int, ...], gain: float, mode: Mode) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ConfigError(f"mode = {mode!r} must be 'fan_in' or 'fan_out'")
    return gain / math.sqrt(max(1, fans(shape)[mode == "fan_out"]))
