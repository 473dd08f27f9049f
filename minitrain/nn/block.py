"""The pre-norm transformer block."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..ops.contract import Into
from ..ops.dropout import DropoutCache, dropout_backward, dropout_forward
from ..ops.layer_norm import LayerNormCache
from ..ops.residual import ResidualCache, residual_backward, residual_forward
from ..ops.residual_layer_norm import ResidualLayerNormCache
from ..random import Key, fold
from .attention import MultiHeadAttention, MultiHeadAttentionCache
from .feed_forward import FeedForward, FeedForwardCache
from .layer_norm import LayerNorm
from .module import Module


class TransformerBlockCache(NamedTuple):
    """What the backward needs, in order of computation."""

    norm1: LayerNormCache
    attention: MultiHeadAttentionCache
    dropout1: DropoutCache
    norm2: ResidualLayerNormCache
    feed_forward: FeedForwardCache
    dropout2: DropoutCache
    residual: ResidualCache


class TransformerBlock(Module):
    """``x = x + attention(norm1(x))``, then ``x = x + feed_forward(norm2(x))`` (GPT-2's pre-norm order).

    Args:
        width: model width C.
        heads: number of query heads.
        rng: source of the initial weights.
        kv_heads: number of key and value heads; ``heads`` by default.
        dropout: probability of dropping, in the attention and on both branches.
        bias: whether linear layers and norms have biases.
        approximate: form of GELU.
        out_std: standard deviation of the initial weights of the two layers that write to the stream.
        dtype: dtype of the weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        rng: np.random.Generator,
        *,
        kv_heads: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        approximate: str = "none",
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        self.dropout = dropout
        self.norm1 = LayerNorm(width, bias=bias, dtype=dtype)
        self.attention = MultiHeadAttention(
            width, heads, rng, kv_heads=kv_heads, dropout=dropout, bias=bias, out_std=out_std, dtype=dtype
        )
        self.norm2 = LayerNorm(width, bias=bias, dtype=dtype)
        self.feed_forward = FeedForward(
            width, 4 * width, rng, approximate=approximate, bias=bias, out_std=out_std, dtype=dtype
        )

    def forward(self, x: Array, *, rng: Key | None = None) -> tuple[Array, TransformerBlockCache]:
        """Map x (B, T, C) to out (B, T, C); ``rng=None`` means evaluation."""
        normed, norm1 = self.norm1.forward(x)
        branch, attention = self.attention.forward(normed, rng=fold(rng, "attention"))
        branch, dropout1 = dropout_forward(branch, p=self.dropout, rng=fold(rng, "dropout1"))
        x, normed, norm2 = self.norm2.forward_residual(x, branch)
        branch, feed_forward = self.feed_forward.forward(normed)
        branch, dropout2 = dropout_forward(branch, p=self.dropout, rng=fold(rng, "dropout2"))
        x, residual = residual_forward(x, branch)
        return x, TransformerBlockCache(norm1, attention, dropout1, norm2, feed_forward, dropout2, residual)

    def backward(self, dout: Array, cache: TransformerBlockCache) -> Array:
        """Map dout (B, T, C) to dx (B, T, C)."""
        dx, dbranch = residual_backward(dout, cache.residual)
        dbranch = dropout_backward(dbranch, cache.dropout2)
        dnormed = self.feed_forward.backward(dbranch, cache.feed_forward)
        dx = dbranch = self.norm2.backward_residual(dx, dnormed, cache.norm2)
        dbranch = dropout_backward(dbranch, cache.dropout1)
        dnormed = self.attention.backward(dbranch, cache.attention)
        return self.norm1.backward(
            dnormed, cache.norm1, dx=Into(dx, accumulate=True)
        )  # the stream's gradient and the branch's
