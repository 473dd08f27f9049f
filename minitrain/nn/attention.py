"""Multi-head self-attention with packed projections."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..backend.pool import empty_like
from ..ops.attention import AttentionCache, attention_backward, attention_forward
from ..ops.contract import Into
from ..ops.linear import LinearCache
from ..random import Key
from .linear import Linear
from .module import Module


class MultiHeadAttentionCache(NamedTuple):
    """What the backward needs."""

    qkv: LinearCache
    attention: AttentionCache
    out: LinearCache


class MultiHeadAttention(Module):
    """Self-attention: one product makes queries, keys and values, another mixes the heads' outputs.

    Args:
        width: model width C.
        heads: number H of query heads; C % H == 0.
        rng: source of the initial weights.
        kv_heads: number Hkv of key and value heads (grouped queries); H by default.
        causal: whether a position sees only itself and what came before.
        dropout: probability of dropping an attention probability.
        bias: whether the projections have biases.
        out_std: standard deviation of the output projection's initial weights.
        dtype: dtype of the weights.

    Attributes:
        qkv: Linear, C -> C + 2 Hkv D, rows in the order queries, keys, values.
        out: Linear, C -> C.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        rng: np.random.Generator,
        *,
        kv_heads: int | None = None,
        causal: bool = True,
        dropout: float = 0.0,
        bias: bool = True,
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.causal, self.dropout = causal, dropout
        self.head_width = width // heads
        self.qkv = Linear(width, (heads + 2 * self.kv_heads) * self.head_width, rng, bias=bias, dtype=dtype)
        self.out = Linear(width, width, rng, bias=bias, std=out_std, dtype=dtype)

    def forward(
        self, x: Array, *, key_lengths: Array | None = None, rng: Key | None = None
    ) -> tuple[Array, MultiHeadAttentionCache]:
        """Map x (B, T, C) to out (B, T, C); keys from ``key_lengths`` (B,) on are padding."""
        packed, qkv_cache = self.qkv.forward(x)  # (B, T, (H + 2 Hkv) D)
        q, k, v = self._split(packed)
        mixed, attention_cache = attention_forward(
            q, k, v, causal=self.causal, key_lengths=key_lengths, dropout=self.dropout, rng=rng
        )
        out, out_cache = self.out.forward(mixed.reshape(x.shape))  # (B, T, H, D) -> (B, T, C)
        return out, MultiHeadAttentionCache(qkv_cache, attention_cache, out_cache)

    def backward(self, dout: Array, cache: MultiHeadAttentionCache) -> Array:
        """Map dout (B, T, C) to dx (B, T, C)."""
        dmixed = self.out.backward(dout, cache.out).reshape(cache.attention.out.shape)  # (B, T, C) -> (B, T, H, D)
        B, T = dout.shape[:2]
        dpacked = empty_like(dout, (B, T, self.qkv.weight.data.shape[0]))
        targets = [Into(part) for part in self._split(dpacked)]  # the three gradients land side by side
        attention_backward(dmixed, cache.attention, into=(*targets, None))
        return self.qkv.backward(dpacked, cache.qkv)

    def _split(self, packed: Array) -> tuple[Array, Array, Array]:
        """(B, T, (H + 2 Hkv) D) -> views q (B, T, H, D), k and v (B, T, Hkv, D)."""
        B, T, _ = packed.shape
        rows = packed.reshape(B, T, -1, self.head_width)  # (B, T, H + 2 Hkv, D)
        H, G = self.heads, self.kv_heads
        return rows[:, :, :H], rows[:, :, H : H + G], rows[:, :, H + G :]
