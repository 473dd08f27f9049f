"""Multi-head self-attention with packed projections."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ...backend.pool import empty_like
from ...errors import ConfigError, ShapeError
from ...ops.attention.attention import AttentionCache, attention_backward, attention_forward
from ...ops.contract.op import Into
from ...ops.linear.linear import LinearCache
from ...random import Key
from ..core.module import Module
from ..layers.linear import Linear
from .heads import PreparedCache, Rope, check_heads, check_rope, check_used, head_norms, prepare, prepare_backward
from .past import KeyValues
from .positions import alibi_slopes


class MultiHeadAttentionCache(NamedTuple):
    """Saved for the backward."""

    qkv: LinearCache
    q: PreparedCache
    k: PreparedCache
    attention: AttentionCache
    out: LinearCache


class MultiHeadAttention(Module):
    """Self-attention: one product computes queries, keys and values, another combines the heads' outputs.

    Args:
        width: model width C.
        heads: number H of query heads; C % H == 0 unless there is a ``head_width``.
        init_rng: source of the initial weights.
        kv_heads: number Hkv of key and value heads (grouped queries; one is multi-query); H by default.
        head_width: width D of a head; C / H by default.
        causal: whether a position attends only to itself and to earlier positions.
        window: a position attends only to those at a smaller distance; see ``attention_forward``.
        rope: rotary positions, applied to queries and keys.
        qk_norm: whether to RMS-norm each query and key over its head width, with one learned weight for queries and one
            for keys (Henry et al., 2020, arXiv:2010.04245; Dehghani et al., 2023, arXiv:2302.05442), before ``rope``.
        eps: added to the mean square in these norms.
        softcap: limit of the scores: they are squashed into (-softcap, softcap).
        alibi: whether scores decrease with distance, with the slopes of ``nn.alibi_slopes``.
        dropout: probability of dropping an attention probability.
        bias: whether the projections have biases.
        out_bias: whether the output projection has one; ``bias`` by default.
        out_std: standard deviation of the output projection's initial weights.
        dtype: dtype of the weights.

    Attributes:
        qkv: Linear, C -> C + 2 Hkv D, rows in the order queries, keys, values.
        q_norm: RMSNorm over D, or ``None``.
        k_norm: RMSNorm over D, or ``None``.
        out: Linear, H D -> C.

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
        head_width: int | None = None,
        causal: bool = True,
        window: int | None = None,
        rope: Rope | None = None,
        qk_norm: bool = False,
        eps: float = 1e-5,
        softcap: float | None = None,
        alibi: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        out_bias: bool | None = None,
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        self.heads = heads
        self.kv_heads = heads if kv_heads is None else kv_heads
        self.head_width = check_heads("MultiHeadAttention", width, heads, self.kv_heads, dropout, head_width)
        check_rope("MultiHeadAttention", rope, self.head_width, width, heads if head_width is None else None)
        if window is not None and (window < 1 or window % 1):
            raise ConfigError(f"MultiHeadAttention: window = {window} must be a whole number of at least 1, or None")
        if softcap is not None and not softcap > 0:
            raise ConfigError(f"MultiHeadAttention: softcap = {softcap} must be positive, or None")
        self.causal, self.window, self.softcap, self.dropout = causal, window, softcap, dropout
        self.rope = rope
        self.alibi_slopes = alibi_slopes(heads) if alibi else None
        self.qkv = Linear(width, (heads + 2 * self.kv_heads) * self.head_width, init_rng, bias=bias, dtype=dtype)
        self.q_norm, self.k_norm = head_norms(qk_norm, self.head_width, dtype, eps=eps)
        out_bias = bias if out_bias is None else out_bias
        self.out = Linear(heads * self.head_width, width, init_rng, bias=out_bias, std=out_std, dtype=dtype)

    def forward(
        self,
        x: Array,
        *,
        key_lengths: Array | None = None,
        mask: Array | None = None,
        positions: Array | None = None,
        past: KeyValues | None = None,
        key: Key | None = None,
    ) -> tuple[Array, MultiHeadAttentionCache]:
        """Attend.

        Args:
            x: (B, T, C).
            key_lengths: (B,) integers; positions from this length on are padding, which no query attends to.
            mask: boolean, True = may attend; broadcasts to (B, H, T, T).
            positions: (T,) or (B, T) integers for ``rope``; 0, 1, ... by default. A window and ALiBi always use the
                index in the sequence.
            past: the keys and values of earlier positions; ``x`` continues them, and its own are added.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            out (B, T, C) and the cache.

        Raises:
            ConfigError: if positions are given to a layer without ``rope``.
            ShapeError: if ``x`` or an option has another shape.
        """
        if x.ndim != 3:
            raise ShapeError(f"MultiHeadAttention: x has shape {x.shape}, expected (B, T, C); one sequence is x[None]")
        check_used("MultiHeadAttention", positions, self.rope)
        packed, qkv_cache = self.qkv.forward(x, key=key)  # (B, T, (H + 2 Hkv) D)
        q, k, v = self._split(packed)
        if past is not None and self.rope is not None:
            positions = past.positions(x.shape[1])
        q, q_cache = prepare(q, self.q_norm, self.rope, positions)
        k, k_cache = prepare(k, self.k_norm, self.rope, positions)
        if past is not None:
            k, v = past.extend(k, v)  # (B, S, Hkv, D), the new positions last
            key_lengths = past.key_lengths if key_lengths is None else key_lengths
        mixed, attention_cache = attention_forward(
            q,
            k,
            v,
            causal=self.causal,
            key_lengths=key_lengths,
            mask=mask,
            window=self.window,
            alibi_slopes=None if self.alibi_slopes is None else array_module(x).asarray(self.alibi_slopes),
            softcap=self.softcap,
            dropout=self.dropout,
            key=key,
        )
        joined = mixed.reshape(*x.shape[:2], self.heads * self.head_width)  # (B, T, H, D) -> (B, T, H D)
        out, out_cache = self.out.forward(joined, key=key)  # (B, T, C)
        return out, MultiHeadAttentionCache(qkv_cache, q_cache, k_cache, attention_cache, out_cache)

    def new_past(self, longest: int, batch: int = 1) -> KeyValues:
        """Memory for the keys and values of sequences of at most ``longest`` positions."""
        like = next(iter(self.parameters())).data  # an adapter hides the weight of its layer
        return KeyValues(longest, self.kv_heads, self.head_width, like, window=self.window, batch=batch)

    def backward(self, dout: Array, cache: MultiHeadAttentionCache) -> Array:
        """Map dout (B, T, C) to dx (B, T, C)."""
        dmixed = self.out.backward(dout, cache.out).reshape(cache.attention.out.shape)  # (B, T, H D) -> (B, T, H, D)
        B, T = dout.shape[:2]
        dpacked = empty_like(dout, (B, T, self.qkv.out_features))
        to_q, to_k, to_v = (Into(part) for part in self._split(dpacked))  # all three in one array
        targets = (cache.q.target(to_q), cache.k.target(to_k), to_v, None)
        dq, dk, _, _ = attention_backward(dmixed, cache.attention, into=targets)
        prepare_backward(dq, self.q_norm, cache.q, to_q)
        prepare_backward(dk, self.k_norm, cache.k, to_k)
        return self.qkv.backward(dpacked, cache.qkv)

    def _split(self, packed: Array) -> tuple[Array, Array, Array]:
        """(B, T, (H + 2 Hkv) D) -> views q (B, T, H, D), k and v (B, T, Hkv, D)."""
        B, T, _ = packed.shape
        H, G = self.heads, self.kv_heads
        rows = packed.reshape(B, T, H + 2 * G, self.head_width)
        return rows[:, :, :H], rows[:, :, H : H + G], rows[:, :, H + G :]
