"""The transformer block of BERT and of the first transformer: each norm comes after the addition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...ops.norms.residual_layer_norm import ResidualLayerNormCache
from ...random import Key, fold
from ..attention.self_attention import MultiHeadAttention, MultiHeadAttentionCache
from ..layers.feed_forward import FeedForward, FeedForwardCache
from ..layers.layer_norm import LayerNorm
from .branch import BranchCache, drop_branch_backward
from .residual_block import ResidualBlock


class PostNormBlockCache(NamedTuple):
    """Saved for the backward, in order of computation."""

    attention: MultiHeadAttentionCache
    branch1: BranchCache
    norm1: ResidualLayerNormCache
    feed_forward: FeedForwardCache
    branch2: BranchCache
    norm2: ResidualLayerNormCache


class PostNormBlock(ResidualBlock):
    """``x = norm1(x + attention(x))``, then ``x = norm2(x + feed_forward(x))`` (Vaswani et al., 2017).

    See arXiv:1706.03762. Every position attends to every other. The output of a block is normalised, so a model of such
    blocks has no final norm.

    Args:
        width: model width C.
        heads: number of heads.
        init_rng: source of the initial weights.
        hidden: width of the feed-forward layer; 4 C by default.
        dropout: probability of dropping, in the attention and on both branches.
        approximate: form of GELU.
        eps: added to the variance in the norms.
        dtype: dtype of the weights.
    """

    branches = ("attention", "feed_forward")
    cache_type = PostNormBlockCache

    def __init__(
        self,
        width: int,
        heads: int,
        init_rng: np.random.Generator,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        approximate: str = "none",
        eps: float = 1e-5,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(dropout=dropout)
        self.attention = MultiHeadAttention(width, heads, init_rng, causal=False, dropout=dropout, dtype=dtype)
        self.norm1 = LayerNorm(width, eps=eps, dtype=dtype)
        self.feed_forward = FeedForward(width, hidden or 4 * width, init_rng, approximate=approximate, dtype=dtype)
        self.norm2 = LayerNorm(width, eps=eps, dtype=dtype)

    def forward(
        self, x: Array, *, key_lengths: Array | None = None, key: Key | None = None
    ) -> tuple[Array, PostNormBlockCache]:
        """Map x (B, T, C) to out (B, T, C).

        Args:
            x: (B, T, C).
            key_lengths: (B,) integers; positions from this length on are padding, which no query attends to.
            key: random key of the dropout masks; ``None`` means evaluation.
        """
        branch, attention = self.attention.forward(x, key_lengths=key_lengths, key=fold(key, "attention"))
        branch, branch1 = self._drop(branch, fold(key, "dropout1"))
        _, x, norm1 = self.norm1.forward_residual(x, branch)
        branch, feed_forward = self.feed_forward.forward(x, key=fold(key, "feed_forward"))
        branch, branch2 = self._drop(branch, fold(key, "dropout2"))
        _, out, norm2 = self.norm2.forward_residual(x, branch)
        return out, PostNormBlockCache(attention, branch1, norm1, feed_forward, branch2, norm2)

    def backward(self, dout: Array, cache: PostNormBlockCache) -> Array:
        """Map dout (B, T, C) to dx (B, T, C)."""
        dsum = self.norm2.backward_residual(None, dout, cache.norm2)  # of the stream and of the branch
        dx = dsum + self.feed_forward.backward(drop_branch_backward(dsum, cache.branch2), cache.feed_forward)
        dsum = self.norm1.backward_residual(None, dx, cache.norm1)
        dbranch = drop_branch_backward(dsum, cache.branch1)
        return dsum + self.attention.backward(dbranch, cache.attention)
