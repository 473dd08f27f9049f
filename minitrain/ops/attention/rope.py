"""Rotary position embedding (Su et al., 2021, arXiv:2104.09864): a query or key at position p is rotated by p.

The head's D elements are D / 2 points in a plane. Point i is rotated by ``angle = p * base^(-2 i / D)``, so the first
points rotate fast and the last hardly at all::

    out[i]         = x[i] cos(angle) - x[i + D/2] sin(angle)
    out[i + D/2]   = x[i] sin(angle) + x[i + D/2] cos(angle)

The dot product of a rotated query and a rotated key depends only on the distance between their positions. The Jacobian
of a rotation is the rotation, and its transpose is the inverse, so the backward rotates ``dout`` by the negative angle.

A point consists of elements i and i + D/2, as in GPT-NeoX and in the published weights of Llama. The paper takes 2 i
and 2 i + 1, which only permutes the rows of the projection before. Dividing the positions by ``scaling`` fits a longer
text into the angles seen in training (Chen et al., 2023, arXiv:2306.15595). Other ways to do that slow each point down
by a factor of its own; they give their ``frequencies`` (`minitrain.nn.Rope` computes those of Llama 3).
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module, constant
from ...errors import ShapeError
from ..contract.op import op


class RopeCache(NamedTuple):
    """Saved for the backward."""

    cos: Array  # (T, 1, D/2) or (B, T, 1, D/2)
    sin: Array  # like cos


def _check_input(
    x: Array,
    positions: Array,
    *,
    base: float = 10000.0,
    scaling: float = 1.0,
    frequencies: tuple[float, ...] | None = None,
) -> None:
    B, T, _, D = x.shape
    if D % 2:
        raise ShapeError(
            f"rope_forward: x has shape {x.shape}, expected an even head width D: elements rotate in pairs"
        )
    if positions.shape not in ((T,), (B, T)):
        raise ShapeError(f"rope_forward: positions has shape {positions.shape}, expected {(T,)} or {(B, T)} as in x")
    if not base > 0 or not scaling > 0:
        raise ShapeError(f"rope_forward: base = {base} and scaling = {scaling} must be positive")
    if frequencies is not None and len(frequencies) != D // 2:
        raise ShapeError(f"rope_forward: there are {len(frequencies)} frequencies, expected D / 2 = {D // 2}")


def _check_cotangent(dout: Array, cache: RopeCache) -> None:
    T, _, half = cache.cos.shape[-3:]
    if (dout.shape[1], dout.shape[3]) != (T, 2 * half) or (cache.cos.ndim == 4 and len(dout) != len(cache.cos)):
        raise ShapeError(f"rope_backward: dout has shape {dout.shape}, expected T = {T} and D = {2 * half} as in x")


@op("x: B T H D; positions: int *N", check=_check_input)
def rope_forward(
    x: Array,
    positions: Array,
    *,
    base: float = 10000.0,
    scaling: float = 1.0,
    frequencies: tuple[float, ...] | None = None,
) -> tuple[Array, RopeCache]:
    """Rotate queries or keys by their positions.

    Args:
        x: (B, T, H, D) queries or keys, D even.
        positions: (T,) or (B, T) integers.
        base: the slowest point rotates about this many times more slowly than the first.
        scaling: divisor of the positions.
        frequencies: D / 2 angles per position, one for each point, in place of ``base^(-2 i / D)``.

    Returns:
        out (B, T, H, D) and the cache.
    """
    xp, D = array_module(x), x.shape[-1]
    frequency = base ** (-xp.arange(0, D, 2) / D) if frequencies is None else constant(frequencies, x)  # (D/2,)
    # In float64: in float32, neighbours at far positions would get equal angles.
    angle = (
        positions.astype(xp.float64)[..., None, None] / scaling * frequency
    )  # (..., T, 1, D/2), the same for all heads
    cache = RopeCache(xp.cos(angle).astype(x.dtype), xp.sin(angle).astype(x.dtype))
    return rotate(x, cache.cos, cache.sin), cache


@op("cache.cos: *N P; cache.sin: *N P; dout: B T H D", check=_check_cotangent)
def rope_backward(dout: Array, cache: RopeCache) -> tuple[Array, None]:
    """Gradient of the rotation: the inverse rotation.

    Maps dout (B, T, H, D) to dx (B, T, H, D), and ``None`` for the positions.
    """
    return rotate(dout, cache.cos, -cache.sin), None


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotate the points (x[i], x[i + D/2]) of the last axis."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = [first * cos - second * sin, first * sin + second * cos]
    return array_module(x).concatenate(turned, axis=-1)  # type: ignore[no-any-return]
