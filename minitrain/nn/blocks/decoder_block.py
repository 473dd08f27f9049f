"""The decoder's block of an encoder-decoder transformer (Vaswani et al., 2017, arXiv:1706.03762), in pre-norm order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...ops.contract.op import Target
from ...ops.norms.layer_norm import LayerNormCache
from ...ops.norms.residual import ResidualCache
from ...ops.norms.residual_layer_norm import ResidualLayerNormCache
from ...random import Key
from ..attention.cross_attention import CrossAttention, CrossAttentionCache
from ..attention.heads import Rope
from ..attention.past import KeyValues
from ..attention.self_attention import MultiHeadAttention, MultiHeadAttentionCache
from ..layers.feed_forward import FeedForward, FeedForwardCache
from ..layers.layer_norm import LayerNorm
from .branch import BranchCache
from .residual_block import ResidualBlock


class DecoderBlockCache(NamedTuple):
    """Saved for the backward, in order of computation."""

    norm1: LayerNormCache
    attention: MultiHeadAttentionCache
    branch1: BranchCache
    norm2: ResidualLayerNormCache
    cross: CrossAttentionCache
    branch2: BranchCache
    norm3: ResidualLayerNormCache
    feed_forward: FeedForwardCache
    branch3: BranchCache
    residual: ResidualCache


class DecoderBlock(ResidualBlock):
    """Causal self-attention, attention to the encoder's output, and a feed-forward layer, each on a normalised copy.

    ``x = x + attention(norm1(x))``, then ``x = x + cross(norm2(x), memory)``, then ``x = x + feed_forward(norm3(x))``.

    Args:
        width: model width C, also of the memory.
        heads: number of heads.
        rope: rotary positions of both attentions: those of ``x``, and in the second one those of the memory.
        init_rng: source of the initial weights.
        dropout: probability of dropping, in both attentions and on all branches.
        drop_path: probability of dropping the whole branch of a sample (stochastic depth).
        bias: whether linear layers and norms have biases.
        approximate: form of GELU.
        out_std: standard deviation of the initial weights of the three layers that write to the stream.
        dtype: dtype of the weights.
    """

    branches = ("attention", "cross", "feed_forward")
    cache_type = DecoderBlockCache

    def __init__(
        self,
        width: int,
        heads: int,
        init_rng: np.random.Generator,
        *,
        rope: Rope | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        bias: bool = True,
        approximate: str = "none",
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dropout=dropout, drop_path=drop_path)
        self.norm1 = LayerNorm(width, bias=bias, dtype=dtype)
        options: dict[str, Any] = {"rope": rope, "dropout": dropout, "bias": bias, "out_std": out_std, "dtype": dtype}
        self.attention = MultiHeadAttention(width, heads, init_rng, **options)
        self.norm2 = LayerNorm(width, bias=bias, dtype=dtype)
        self.cross = CrossAttention(width, heads, init_rng, **options)
        self.norm3 = LayerNorm(width, bias=bias, dtype=dtype)
        self.feed_forward = FeedForward(
            width, 4 * width, init_rng, approximate=approximate, bias=bias, out_std=out_std, dtype=dtype
        )

    def forward(
        self,
        x: Array,
        memory: Array | None,
        *,
        key_lengths: Array | None = None,
        memory_lengths: Array | None = None,
        past: tuple[KeyValues, KeyValues] | None = None,
        key: Key | None = None,
    ) -> tuple[Array, DecoderBlockCache]:
        """Map x (B, T, C) to out (B, T, C).

        Args:
            x: (B, T, C) the decoder's stream.
            memory: (B, S, C) the encoder's output; not needed once ``past`` has its keys and values.
            key_lengths: (B,) integers; positions of ``x`` from this length on are padding.
            memory_lengths: (B,) integers; the same of ``memory``.
            past: keys and values of earlier positions, which ``x`` continues, and those of the memory.
            key: random key of the dropout masks; ``None`` means evaluation.
        """
        own, other = past or (None, None)
        # Asked before the self-attention adds the new positions to ``own``.
        positions = None if own is None or self.cross.rope is None else own.positions(x.shape[1])
        attention = {"key_lengths": key_lengths, "past": own}
        cross = {"memory": memory, "key_lengths": memory_lengths, "positions": positions, "past": other}
        return self.forward_branches(x, {"attention": attention, "cross": cross}, key)

    def backward(self, dout: Array, cache: DecoderBlockCache, *, dmemory: Target = None) -> tuple[Array, Array]:
        """Map dout (B, T, C) to dx (B, T, C) and dmemory (B, S, C), which goes where the target ``dmemory`` says."""
        dx, others = self.backward_branches(dout, cache, {"cross": {"dmemory": dmemory}})
        return dx, others["cross"]
