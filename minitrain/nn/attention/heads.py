"""Shared parts of attention layers: checks of their heads, and the norms and rotations of queries and keys."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError
from ...ops.attention.rope import RopeCache, rope_backward, rope_forward
from ...ops.contract.op import Target
from ...ops.norms.rms_norm import RMSNormCache
from ..core.checks import check_probabilities, check_sizes
from ..layers.rms_norm import RMSNorm

ROPE_SCALINGS = ("linear", "llama3")
"""How a trained model is used on longer texts: all rotations are slowed down, or, as in Llama 3, the slow ones."""


@dataclass(frozen=True)
class Rope:
    """Settings of rotary positions (Su et al., 2021, arXiv:2104.09864); see ``ops.rope``.

    ``kind="linear"`` divides all positions by ``scaling`` (Chen et al., 2023, arXiv:2306.15595). ``kind="llama3"`` is
    that of Llama 3.1 (Grattafiori et al., 2024, arXiv:2407.21783). Its formula is from the published code:
    ``apply_scaling`` in ``models/llama3/model.py`` of ``meta-llama/llama-models``. It looks at how often a pair turns
    within ``original`` positions. Pairs that turn less than ``low`` times are slowed down by ``scaling``, those that
    turn more than ``high`` times are left alone, and those between get a factor between, linear in the number of turns.

    Attributes:
        base: the slowest pair rotates about this many times more slowly than the first.
        scaling: divisor of the positions, or of the slow pairs' frequencies.
        kind: ``"linear"`` or ``"llama3"``.
        low: of ``"llama3"``: the number of turns below which a pair is slow.
        high: of ``"llama3"``: the number of turns above which a pair is fast.
        original: of ``"llama3"``: the longest text of the training before.
    """

    base: float = 10000.0
    scaling: float = 1.0
    kind: str = "linear"
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: if one of them is out of range.
        """
        if self.kind not in ROPE_SCALINGS:
            raise ConfigError(f"Rope: kind = {self.kind!r}; use one of {', '.join(map(repr, ROPE_SCALINGS))}")
        for name, value in vars(self).items():
            if name != "kind" and not value > 0:
                raise ConfigError(f"Rope: {name} = {value} must be positive")
        if self.kind == "llama3" and not self.low < self.high:
            raise ConfigError(f"Rope: low = {self.low} must be less than high = {self.high}")

    def options(self, head_width: int) -> dict[str, Any]:
        """The keyword arguments of ``rope_forward`` for heads of width D."""
        if self.kind == "linear":
            return {"base": self.base, "scaling": self.scaling}
        return {"frequencies": llama3_frequencies(self, head_width)}


@functools.lru_cache(maxsize=16)
def llama3_frequencies(rope: Rope, head_width: int) -> tuple[float, ...]:
    """The D / 2 angles per position of Llama 3's scaling; see `Rope`."""
    frequency = rope.base ** (-np.arange(0, head_width, 2) / head_width)  # (D/2,)
    turns = rope.original * frequency / (2 * math.pi)
    kept = np.clip((turns - rope.low) / (rope.high - rope.low), 0, 1)  # 0: slowed down, 1: left alone
    return tuple((frequency * ((1 - kept) / rope.scaling + kept)).tolist())


class PreparedCache(NamedTuple):
    """Saved for the backward of ``prepare``."""

    norm: RMSNormCache | None
    rope: RopeCache | None

    def target(self, dx: Target) -> Target:
        """Where attention writes its gradient: to ``dx``, unless ``prepare_backward`` follows."""
        return dx if self.norm is None and self.rope is None else None


def prepare(
    x: Array, norm: RMSNorm | None, rope: Rope | None = None, positions: Array | None = None
) -> tuple[Array, PreparedCache]:
    """Normalise and rotate queries or keys; both steps are optional.

    Args:
        x: (B, T, H, D) queries or keys.
        norm: norm over the head width, or ``None``.
        rope: settings of the rotation, or ``None``.
        positions: (T,) or (B, T) integers of the rotation; 0, 1, ... by default.

    Returns:
        out (B, T, H, D) and the cache; ``x`` itself if there is neither.
    """
    norm_cache = rope_cache = None
    if norm is not None:
        x, norm_cache = norm.forward(x)
    if rope is not None:
        positions = array_module(x).arange(x.shape[1]) if positions is None else positions
        x, rope_cache = rope_forward(x, positions, **rope.options(x.shape[-1]))
    return x, PreparedCache(norm_cache, rope_cache)


def prepare_backward(dout: Array, norm: RMSNorm | None, cache: PreparedCache, dx: Target = None) -> Array:
    """Map dout (B, T, H, D), which attention wrote to ``cache.target(dx)``, to dx (B, T, H, D)."""
    if cache.rope is not None:
        dout, _ = rope_backward(dout, cache.rope, into=(dx if norm is None else None, None))
    if norm is not None and cache.norm is not None:
        dout = norm.backward(dout, cache.norm, dx=dx)
    return dout


def check_heads(
    layer: str, width: int, heads: int, kv_heads: int, dropout: float, head_width: int | None = None
) -> int:
    """The head width D: ``head_width`` if it is given, else ``width / heads``.

    Raises:
        ConfigError: if the settings do not fit together.
    """
    check_sizes(layer, width=width, heads=heads, kv_heads=kv_heads)
    if head_width is not None:
        check_sizes(layer, head_width=head_width)
    elif width % heads:
        raise ConfigError(f"{layer}: heads = {heads} must divide width = {width}, or give head_width")
    if heads % kv_heads:
        raise ConfigError(f"{layer}: kv_heads = {kv_heads} must divide heads = {heads}")
    check_probabilities(layer, dropout=dropout)
    return width // heads if head_width is None else head_width


def check_rope(layer: str, rope: Rope | None, head_width: int, width: int, heads: int | None) -> None:
    """Raise a ``ConfigError`` if pairs of elements cannot rotate; ``heads`` is ``None`` if the head width was given."""
    if rope is not None and head_width % 2:
        came_from = "head_width" if heads is None else f"width / heads = {width} / {heads}"
        raise ConfigError(
            f"{layer}: rope needs an even head width, but {came_from} = {head_width}: elements rotate in pairs"
        )


def check_used(layer: str, positions: Array | None, rope: Rope | None) -> None:
    """Raise a ``ConfigError`` if positions are given to a layer that does not rotate."""
    if positions is not None and rope is None:
        raise ConfigError(
            f"{layer}: positions were given, but the layer has rope=None and would ignore them; build it with "
            "rope=Rope() or leave positions out"
        )


def head_norms(
    qk_norm: bool, head_width: int, dtype: Any = np.float32, *, eps: float = 1e-5
) -> tuple[RMSNorm | None, RMSNorm | None]:
    """Norms of queries and keys, or ``None`` twice."""
    if not qk_norm:
        return None, None
    return RMSNorm(head_width, eps=eps, dtype=dtype), RMSNorm(head_width, eps=eps, dtype=dtype)
