"""The decoder's block of an encoder-decoder transformer (Vaswani et al., 2017, arXiv:1706.03762), in pre-norm order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...ops.contract.op import Into, Target
from ...ops.norms.layer_norm import LayerNormCache
from ...ops.norms.residual import ResidualCache, residual_backward, residual_forward
from ...ops.norms.residual_layer_norm import ResidualLayerNormCache
from ...random import Key, fold
from ..attention.cross_attention import CrossAttention, CrossAttentionCache
from ..attention.self_attention import MultiHeadAttention, MultiHeadAttentionCache
from ..core.checks import check_probabilities
from ..core.module import Module
from ..layers.feed_forward import FeedForward, FeedForwardCache
from ..layers.layer_norm import LayerNorm
from .branch import BranchCache, drop_branch_backward, drop_branch_forward


class DecoderBlockCache(NamedTuple):
    """What the backward needs, in order of computation."""

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


class DecoderBlock(Module):
    """Causal self-attention, attention to the encoder's output, and a feed-forward layer, each on a normalised copy.

    ``x = x + attention(norm1(x))``, then ``x = x + cross(norm2(x), memory)``, then ``x = x + feed_forward(norm3(x))``.

    Args:
        width: model width C, also of the memory.
        heads: number of heads.
        rng: source of the initial weights.
        dropout: probability of dropping, in both attentions and on all branches.
        drop_path: probability of leaving out the whole branch of a sample (stochastic depth).
        bias: whether linear layers and norms have biases.
        approximate: form of GELU.
        out_std: standard deviation of the initial weights of the three layers that write to the stream.
        dtype: dtype of the weights.
    """

    recompute = False
    """Whether only inputs are kept for the backward; see `minitrain.nn.blocks.recompute`."""

    def __init__(
        self,
        width: int,
        heads: int,
        rng: np.random.Generator,
        *,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        bias: bool = True,
        approximate: str = "none",
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        check_probabilities(type(self).__name__, dropout=dropout, drop_path=drop_path)
        self.dropout, self.drop_path = dropout, drop_path
        self.norm1 = LayerNorm(width, bias=bias, dtype=dtype)
        self.attention = MultiHeadAttention(width, heads, rng, dropout=dropout, bias=bias, out_std=out_std, dtype=dtype)
        self.norm2 = LayerNorm(width, bias=bias, dtype=dtype)
        self.cross = CrossAttention(width, heads, rng, dropout=dropout, bias=bias, out_std=out_std, dtype=dtype)
        self.norm3 = LayerNorm(width, bias=bias, dtype=dtype)
        self.feed_forward = FeedForward(
            width, 4 * width, rng, approximate=approximate, bias=bias, out_std=out_std, dtype=dtype
        )

    def forward(
        self,
        x: Array,
        memory: Array,
        *,
        key_lengths: Array | None = None,
        memory_lengths: Array | None = None,
        rng: Key | None = None,
    ) -> tuple[Array, DecoderBlockCache]:
        """Map x (B, T, C) to out (B, T, C).

        Args:
            x: (B, T, C) the decoder's stream.
            memory: (B, S, C) the encoder's output.
            key_lengths: (B,) integers; positions of ``x`` from this length on are padding.
            memory_lengths: (B,) integers; the same of ``memory``.
            rng: key of the dropout masks; ``None`` means evaluation.
        """
        normed, norm1 = self.norm1.forward(x)
        branch, attention = self.attention.forward(normed, key_lengths=key_lengths, rng=fold(rng, "attention"))
        branch, branch1 = self._drop(branch, fold(rng, "dropout1"))
        x, normed, norm2 = self.norm2.forward_residual(x, branch)
        branch, cross = self.cross.forward(normed, memory, key_lengths=memory_lengths, rng=fold(rng, "cross"))
        branch, branch2 = self._drop(branch, fold(rng, "dropout2"))
        x, normed, norm3 = self.norm3.forward_residual(x, branch)
        branch, feed_forward = self.feed_forward.forward(normed, rng=fold(rng, "feed_forward"))
        branch, branch3 = self._drop(branch, fold(rng, "dropout3"))
        x, residual = residual_forward(x, branch)
        return x, DecoderBlockCache(
            norm1, attention, branch1, norm2, cross, branch2, norm3, feed_forward, branch3, residual
        )

    def backward(self, dout: Array, cache: DecoderBlockCache, *, dmemory: Target = None) -> tuple[Array, Array]:
        """Map dout (B, T, C) to dx (B, T, C) and dmemory (B, S, C), which goes where the target ``dmemory`` says."""
        dx, dbranch = residual_backward(dout, cache.residual)
        dbranch = drop_branch_backward(dbranch, cache.branch3)
        dnormed = self.feed_forward.backward(dbranch, cache.feed_forward)
        dx = dbranch = self.norm3.backward_residual(dx, dnormed, cache.norm3)
        dbranch = drop_branch_backward(dbranch, cache.branch2)
        dnormed, to_memory = self.cross.backward(dbranch, cache.cross, dmemory=dmemory)
        dx = dbranch = self.norm2.backward_residual(dx, dnormed, cache.norm2)
        dbranch = drop_branch_backward(dbranch, cache.branch1)
        dnormed = self.attention.backward(dbranch, cache.attention)
        dx = self.norm1.backward(dnormed, cache.norm1, dx=Into(dx, accumulate=True))  # the stream's and the branch's
        return dx, to_memory

    def _drop(self, branch: Array, rng: Key | None) -> tuple[Array, BranchCache]:
        return drop_branch_forward(branch, dropout=self.dropout, drop_path=self.drop_path, rng=rng)
