"""BERT as an encoder of sentences (Devlin et al., 2018, arXiv:1810.04805; Reimers, Gurevych, 2019, arXiv:1908.10084).

Tokens, positions and token types are embedded and normalised. Blocks with the norms after the additions follow, in
which every token attends to every other. One vector for the sentence is pooled from the result and scaled to length
one, so the dot product of two sentences is their cosine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..errors import ConfigError, ShapeError
from ..nn.attention.positions import LearnedPositions, LearnedPositionsCache
from ..nn.blocks.post_norm_block import PostNormBlock
from ..nn.core.init import generator
from ..nn.core.module import Module
from ..nn.layers.embedding import Embedding
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..ops.activations.tanh import tanh_backward, tanh_forward
from ..ops.linear.dropout import DropoutCache, dropout_backward, dropout_forward
from ..ops.linear.embedding import EmbeddingCache
from ..ops.norms.l2_normalize import l2_normalize_backward, l2_normalize_forward
from ..ops.norms.residual_layer_norm import ResidualLayerNormCache
from ..ops.sequences.mean_pool import mean_pool_backward, mean_pool_forward
from ..random import Key, fold
from .common.blocks import backward_blocks, check_unused, forward_blocks
from .common.config import TransformerConfig, check_config, check_text_pool
from .common.embedding import check_tokens
from .flops import Flops, attention_flops, linear_flops


@dataclass(frozen=True)
class BertConfig(TransformerConfig):
    """Shape of a BERT; see also `TransformerConfig`.

    Attributes:
        vocab_size: number V of token ids.
        block_size: longest sequence.
        n_types: number of token types, such as first and second sentence.
        n_hidden: width of the feed-forward layers; ``None`` for 4 C.
        pool: the sentence's vector: ``"mean"`` of all positions, or the ``"first"``.
        pooler: whether BERT's linear layer with a tanh follows: ``"used"`` or ``"absent"``. ``"unused"`` keeps its
            weights, frozen: sentence encoders are published with the pooler of the BERT that they were made from.
        normalize: whether the vector is scaled to length one.
        gelu: ``"exact"`` (or ``"none"``, PyTorch's name for it), or ``"tanh"`` for GPT-2's approximation.
        eps: added to the variance in the norms.
    """

    vocab_size: int
    block_size: int = 512
    n_types: int = field(default=2, kw_only=True)
    n_hidden: int | None = field(default=None, kw_only=True)
    pool: str = field(default="mean", kw_only=True)
    pooler: str = field(default="absent", kw_only=True)
    normalize: bool = field(default=True, kw_only=True)
    gelu: str = field(default="exact", kw_only=True)
    eps: float = field(default=1e-12, kw_only=True)

    def check_together(self) -> None:
        """Check that texts can be pooled so, and that there are no labels to smooth."""
        check_text_pool(self)
        if self.label_smoothing:
            raise ConfigError(f"label_smoothing = {self.label_smoothing}: a BERT has no loss of its own; leave it out")


class BertEmbedCache(NamedTuple):
    """Saved for the backward."""

    tokens: EmbeddingCache
    positions: LearnedPositionsCache
    types: EmbeddingCache
    norm: ResidualLayerNormCache
    dropout: DropoutCache


class BertCache(NamedTuple):
    """Saved for the backward, which pops the lists. So a cache serves one backward."""

    embedding: BertEmbedCache
    blocks: list[Any]
    top: list[Any]


class Bert(Module):
    """An encoder of sentences; `DualEncoder` and the contrastive losses train one.

    Args:
        config: the shape.
        seed: of the initial weights, which are normal with standard deviation 0.02.
        dtype: float32, or float64 for gradient checks.
    """

    config_type = BertConfig

    def __init__(self, config: BertConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        init_rng, C = generator(seed), config.n_embd
        self.tok_emb = Embedding(config.vocab_size, C, init_rng, dtype=dtype)
        self.pos_emb = LearnedPositions(config.block_size, C, init_rng, dtype=dtype)
        self.type_emb = Embedding(config.n_types, C, init_rng, dtype=dtype)
        self.norm = LayerNorm(C, eps=config.eps, dtype=dtype)
        self.blocks = [
            PostNormBlock(
                C,
                config.n_head,
                init_rng,
                hidden=config.n_hidden,
                dropout=config.dropout,
                approximate=config.gelu,
                eps=config.eps,
                dtype=dtype,
            )
            for _ in range(config.n_layer)
        ]
        self.pooler = None if config.pooler == "absent" else Linear(C, C, init_rng, dtype=dtype)
        if self.pooler is not None and config.pooler == "unused":
            for parameter in self.pooler.parameters():
                parameter.trainable = False

    def forward(
        self,
        tokens: Array,
        *,
        lengths: Array | None = None,
        token_types: Array | None = None,
        key: Key | None = None,
    ) -> tuple[Array, BertCache]:
        """The vectors of sentences.

        Args:
            tokens: (B, T) integers, T at most ``block_size``.
            lengths: (B,) integers; positions from this length on are padding, ``None`` if there is none.
            token_types: (B, T) integers below ``n_types``; zeros by default.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            vectors (B, C) and the cache.

        Raises:
            ShapeError: if the sequences are longer than ``block_size``, or the types have another shape.
            TokenError: if a token or a type is outside its table.
        """
        x, cache = self.forward_hidden(tokens, lengths=lengths, token_types=token_types, key=key)
        # Pooling the first position is a mean over one position.
        pooled_lengths = lengths if self.config.pool == "mean" else array_module(x).ones(len(x), dtype=int)
        x, pool = mean_pool_forward(x, key_lengths=pooled_lengths)  # (B, T, C) -> (B, C)
        cache.top.append(pool)
        if self.config.pooler == "used":
            assert self.pooler is not None
            x, linear = self.pooler.forward(x, key=fold(key, "pooler"))
            x, tanh = tanh_forward(x)
            cache.top.extend((linear, tanh))
        if self.config.normalize:
            x, length = l2_normalize_forward(x)
            cache.top.append(length)
        return x, cache

    def backward(self, dvectors: Array, cache: BertCache) -> None:
        """Add the gradients of all parameters.

        Args:
            dvectors: (B, C) gradient of the vectors.
            cache: from the forward; it serves one backward.
        """
        check_unused(self, self.blocks, cache.blocks)
        top = cache.top
        if self.config.normalize:
            dvectors = l2_normalize_backward(dvectors, top.pop())
        if self.config.pooler == "used":
            assert self.pooler is not None
            dvectors = self.pooler.backward(tanh_backward(dvectors, top.pop()), top.pop())
        self.backward_hidden(mean_pool_backward(dvectors, top.pop()), cache)  # (B, C) -> (B, T, C)

    def forward_hidden(
        self,
        tokens: Array,
        *,
        lengths: Array | None = None,
        token_types: Array | None = None,
        key: Key | None = None,
    ) -> tuple[Array, BertCache]:
        """``forward`` without pooling: the last block's output (B, T, C), and the cache."""
        check_tokens("Bert.forward: tokens", tokens, self.config.block_size)
        if token_types is not None and token_types.shape != tokens.shape:
            raise ShapeError(f"Bert.forward: token_types has shape {token_types.shape}, expected {tokens.shape}")
        types = array_module(tokens).zeros_like(tokens) if token_types is None else token_types
        x, token_cache = self.tok_emb.forward(tokens)
        x, position_cache = self.pos_emb.forward(x)
        rows, type_cache = self.type_emb.forward(types)
        _, x, norm = self.norm.forward_residual(x, rows)
        x, dropout = dropout_forward(x, p=self.config.dropout, key=fold(key, "embedding"))
        x, blocks = forward_blocks(self.blocks, x, key_lengths=lengths, key=key)
        return x, BertCache(BertEmbedCache(token_cache, position_cache, type_cache, norm, dropout), blocks, [])

    def backward_hidden(self, dx: Array, cache: BertCache) -> None:
        """``backward`` without pooling, from the gradient dx (B, T, C) of the last block's output."""
        check_unused(self, self.blocks, cache.blocks)
        embedding = cache.embedding
        dx = backward_blocks(self.blocks, dx, cache.blocks)
        dx = self.norm.backward_residual(None, dropout_backward(dx, embedding.dropout), embedding.norm)
        self.type_emb.backward(dx, embedding.types)
        self.tok_emb.backward(self.pos_emb.backward(dx, embedding.positions), embedding.tokens)

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one sequence of ``block_size`` tokens; see `minitrain.models.flops`."""
        T = self.config.block_size
        pooler = linear_flops(self.pooler, 1) if self.pooler is not None and self.config.pooler == "used" else 0
        return Flops(
            tokens=T,
            products=linear_flops(self.blocks, T) + pooler,
            attention=attention_flops(self.config.n_embd, len(self.blocks) * T * T),
        )
