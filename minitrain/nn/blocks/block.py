"""Pre-norm transformer blocks of self-attention and a feed-forward layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...ops.norms.layer_norm import LayerNormCache
from ...ops.norms.residual import ResidualCache
from ...ops.norms.residual_layer_norm import ResidualLayerNormCache
from ...ops.norms.residual_rms_norm import ResidualRMSNormCache
from ...ops.norms.rms_norm import RMSNormCache
from ...random import Key
from ..attention.heads import Rope
from ..attention.past import KeyValues
from ..attention.self_attention import MultiHeadAttention, MultiHeadAttentionCache
from ..layers.feed_forward import FeedForward, FeedForwardCache
from ..layers.gated_feed_forward import GatedFeedForward, GatedFeedForwardCache
from ..layers.layer_norm import LayerNorm
from ..layers.rms_norm import RMSNorm
from .branch import BranchCache
from .residual_block import ResidualBlock


class PreNormBlockCache(NamedTuple):
    """Saved for the backward, in order of computation."""

    norm1: LayerNormCache | RMSNormCache
    attention: MultiHeadAttentionCache
    branch1: BranchCache
    norm2: ResidualLayerNormCache | ResidualRMSNormCache
    feed_forward: FeedForwardCache | GatedFeedForwardCache
    branch2: BranchCache
    residual: ResidualCache


class PreNormBlock(ResidualBlock):
    """``x = x + attention(norm1(x))``, then ``x = x + feed_forward(norm2(x))`` (GPT-2's order), with any parts.

    Args:
        norm1: LayerNorm or RMSNorm before the attention.
        attention: self-attention.
        norm2: norm before the feed-forward layer, of the kind of ``norm1``.
        feed_forward: FeedForward or GatedFeedForward.
        dropout: probability of dropping an element of either branch.
        drop_path: probability of dropping the whole branch of a sample (stochastic depth).

    Raises:
        ConfigError: if a probability is out of range.
    """

    branches = ("attention", "feed_forward")
    cache_type = PreNormBlockCache

    def __init__(
        self,
        norm1: LayerNorm | RMSNorm,
        attention: MultiHeadAttention,
        norm2: LayerNorm | RMSNorm,
        feed_forward: FeedForward | GatedFeedForward,
        *,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(dropout=dropout, drop_path=drop_path)
        self.norm1: Any = norm1
        self.attention = attention
        self.norm2: Any = norm2
        self.feed_forward: Any = feed_forward

    def forward(
        self,
        x: Array,
        *,
        key_lengths: Array | None = None,
        past: KeyValues | None = None,
        key: Key | None = None,
    ) -> tuple[Array, PreNormBlockCache]:
        """Map x (B, T, C) to out (B, T, C).

        Args:
            x: (B, T, C) the stream.
            key_lengths: (B,) integers; positions from this length on are padding, which no query attends to.
            past: keys and values of earlier positions, which ``x`` continues; see `MultiHeadAttention`.
            key: random key of the dropout masks; ``None`` means evaluation.
        """
        return self.forward_branches(x, {"attention": {"key_lengths": key_lengths, "past": past}}, key)

    def backward(self, dout: Array, cache: PreNormBlockCache) -> Array:
        """Map dout (B, T, C) to dx (B, T, C)."""
        return self.backward_branches(dout, cache, {})[0]


class TransformerBlock(PreNormBlock):
    """The block of GPT-2, of encoders and of vision transformers: layer norms and a GELU layer of width 4 C.

    Args:
        width: model width C.
        heads: number of query heads.
        init_rng: source of the initial weights.
        kv_heads: number of key and value heads; ``heads`` by default.
        rope: rotary positions, applied to queries and keys.
        alibi: whether scores decrease with distance.
        causal: whether a position attends only to itself and to earlier positions.
        dropout: probability of dropping, in the attention and on both branches.
        drop_path: probability of dropping the whole branch of a sample (stochastic depth).
        bias: whether linear layers and norms have biases.
        eps: added to the variance in the norms.
        approximate: form of GELU.
        out_std: standard deviation of the initial weights of the two layers that write to the stream.
        dtype: dtype of the weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        init_rng: np.random.Generator,
        *,
        kv_heads: int | None = None,
        rope: Rope | None = None,
        alibi: bool = False,
        causal: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        bias: bool = True,
        eps: float = 1e-5,
        approximate: str = "none",
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            LayerNorm(width, bias=bias, eps=eps, dtype=dtype),
            MultiHeadAttention(
                width,
                heads,
                init_rng,
                kv_heads=kv_heads,
                rope=rope,
                alibi=alibi,
                causal=causal,
                dropout=dropout,
                bias=bias,
                out_std=out_std,
                dtype=dtype,
            ),
            LayerNorm(width, bias=bias, eps=eps, dtype=dtype),
            FeedForward(width, 4 * width, init_rng, approximate=approximate, bias=bias, out_std=out_std, dtype=dtype),
            dropout=dropout,
            drop_path=drop_path,
        )
