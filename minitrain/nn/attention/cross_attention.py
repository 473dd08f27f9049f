"""Multi-head attention from one sequence to another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...backend.pool import empty_like
from ...errors import ShapeError
from ...ops.attention.attention import AttentionCache, attention_backward, attention_forward
from ...ops.contract.op import Into, Target
from ...ops.linear.linear import LinearCache
from ...random import Key
from ..core.module import Module
from ..layers.linear import Linear
from .heads import PreparedCache, Rope, check_heads, check_rope, check_used, head_norms, prepare, prepare_backward
from .past import KeyValues


class CrossAttentionCache(NamedTuple):
    """Saved for the backward."""

    q_proj: LinearCache
    kv: LinearCache | None  # None if the keys and values were kept: there is no backward then
    q: PreparedCache
    k: PreparedCache
    attention: AttentionCache
    out: LinearCache


class CrossAttention(Module):
    """Queries come from ``x``, keys and values from ``memory``, such as an encoder's output.

    Args:
        width: model width C.
        heads: number H of query heads; C % H == 0.
        init_rng: source of the initial weights.
        kv_heads: number Hkv of key and value heads (grouped queries; one is multi-query); H by default.
        memory_width: width of the memory; C by default.
        rope: rotary positions, of the queries in ``x`` and of the keys in the memory.
        qk_norm: whether to RMS-norm each query and key over its head width, as in ``MultiHeadAttention``.
        dropout: probability of dropping an attention probability.
        bias: whether the projections have biases.
        out_std: standard deviation of the output projection's initial weights.
        dtype: dtype of the weights.

    Attributes:
        q: Linear, C -> C.
        kv: Linear, memory_width -> 2 Hkv D, rows in the order keys, values.
        q_norm: RMSNorm over D, or ``None``.
        k_norm: RMSNorm over D, or ``None``.
        out: Linear, C -> C.

    Raises:
        ConfigError: if a setting is out of range, or settings do not fit together.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        init_rng: np.random.Generator,
        *,
        kv_heads: int | None = None,
        memory_width: int | None = None,
        rope: Rope | None = None,
        qk_norm: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        self.heads = heads
        self.kv_heads = heads if kv_heads is None else kv_heads
        self.head_width = check_heads("CrossAttention", width, heads, self.kv_heads, dropout)
        check_rope("CrossAttention", rope, self.head_width, width, heads)
        self.dropout, self.rope = dropout, rope
        memory_width = width if memory_width is None else memory_width
        self.q = Linear(width, width, init_rng, bias=bias, dtype=dtype)
        self.kv = Linear(memory_width, 2 * self.kv_heads * self.head_width, init_rng, bias=bias, dtype=dtype)
        self.q_norm, self.k_norm = head_norms(qk_norm, self.head_width, dtype)
        self.out = Linear(width, width, init_rng, bias=bias, std=out_std, dtype=dtype)

    def forward(
        self,
        x: Array,
        memory: Array | None,
        *,
        key_lengths: Array | None = None,
        mask: Array | None = None,
        positions: Array | None = None,
        past: KeyValues | None = None,
        key: Key | None = None,
    ) -> tuple[Array, CrossAttentionCache]:
        """Attend from ``x`` to ``memory``.

        Args:
            x: (B, T, C).
            memory: (B, S, memory_width); not needed once ``past`` has its keys and values.
            key_lengths: (B,) integers; the memory from this length on is padding.
            mask: boolean, True = may attend; broadcasts to (B, H, T, S).
            positions: (T,) or (B, T) integers of the queries for ``rope``; 0, 1, ... by default, as the memory's are.
            past: keeps the memory's keys and values: the first call computes them, later ones read them.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            out (B, T, C) and the cache.

        Raises:
            ConfigError: if positions are given to a layer without ``rope``.
            ShapeError: if there is no memory.
        """
        check_used("CrossAttention", positions, self.rope)
        q, q_proj = self.q.forward(x, key=key)
        q = q.reshape(*x.shape[:2], self.heads, self.head_width)  # (B, T, C) -> (B, T, H, D)
        q, q_cache = prepare(q, self.q_norm, self.rope, positions)
        kv, k_cache = None, PreparedCache(None, None)
        if past is not None and past.length:
            k, v = past.all()
        elif memory is None:
            raise ShapeError("CrossAttention: there is no memory, and none was kept; pass the encoder's output")
        else:
            packed, kv = self.kv.forward(memory, key=key)  # (B, S, 2 Hkv D)
            k, v = self._split(packed)
            k, k_cache = prepare(k, self.k_norm, self.rope)
            if past is not None:
                k, v = past.extend(k, v)
        mixed, attention = attention_forward(q, k, v, key_lengths=key_lengths, mask=mask, dropout=self.dropout, key=key)
        out, out_cache = self.out.forward(mixed.reshape(x.shape), key=key)  # (B, T, H, D) -> (B, T, C)
        return out, CrossAttentionCache(q_proj, kv, q_cache, k_cache, attention, out_cache)

    def new_past(self, longest: int, batch: int = 1) -> KeyValues:
        """Memory for the keys and values of a memory of at most ``longest`` positions."""
        return KeyValues(longest, self.kv_heads, self.head_width, next(iter(self.parameters())).data, batch=batch)

    def backward(self, dout: Array, cache: CrossAttentionCache, *, dmemory: Target = None) -> tuple[Array, Array]:
        """Map dout (B, T, C) to dx (B, T, C) and dmemory (B, S, memory_width).

        If several layers read one memory, their gradients add up: ``dmemory=Into(buffer, accumulate=True)``.
        """
        if cache.kv is None:
            raise ShapeError("CrossAttention.backward: the forward read kept keys and values; call it without past")
        dmixed = self.out.backward(dout, cache.out).reshape(cache.attention.out.shape)  # (B, T, C) -> (B, T, H, D)
        B, S = cache.attention.k.shape[:2]
        dpacked = empty_like(dout, (B, S, self.kv.out_features))
        to_k, to_v = (Into(part) for part in self._split(dpacked))  # both gradients are written into one array
        targets = (None, cache.k.target(to_k), to_v, None)
        dq, dk, _, _ = attention_backward(dmixed, cache.attention, into=targets)
        dq = prepare_backward(dq, self.q_norm, cache.q)
        prepare_backward(dk, self.k_norm, cache.k, to_k)
        dx = self.q.backward(dq.reshape(dout.shape), cache.q_proj)  # (B, T, H, D) -> (B, T, C)
        return dx, self.kv.backward(dpacked, cache.kv, dx=dmemory)

    def _split(self, packed: Array) -> tuple[Array, Array]:
        """(B, S, 2 Hkv D) -> views k and v (B, S, Hkv, D)."""
        B, S, _ = packed.shape
        rows = packed.reshape(B, S, 2 * self.kv_heads, self.head_width)
        return rows[:, :, : self.kv_heads], rows[:, :, self.kv_heads :]
