"""An encoder that finds masked tokens (Devlin et al., 2018, arXiv:1810.04805, with pre-norm blocks as in GPT-2).

Every token attends to every other, so a hidden one is found from both sides. The body is that of `Encoder`. BERT's head
follows at every position: a linear layer with GELU and a norm, then the scores of all tokens, by the matrix of the
embedding and a bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..nn.attention.positions import LearnedPositions
from ..nn.blocks.block import TransformerBlock
from ..nn.core.init import generator, residual_std
from ..nn.layers.embedding import Embedding
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..ops.activations.gelu import gelu_backward, gelu_forward
from ..random import Key, fold
from .batches import BatchFields
from .common.blocks import backward_blocks, check_unused, forward_blocks
from .common.config import TransformerConfig, check_config
from .common.cross_entropy import CrossEntropyModel
from .common.embedding import EmbedCache, check_tokens, embed_backward, embed_forward
from .flops import Flops, attention_flops, linear_flops


@dataclass(frozen=True)
class MaskedEncoderConfig(TransformerConfig):
    """Shape of a MaskedEncoder; see also `TransformerConfig`.

    Attributes:
        vocab_size: number V of token ids, the mask token among them.
        block_size: longest sequence.
        bias: whether the blocks' linear layers and the norms have biases.
        gelu: ``"exact"`` (or ``"none"``, PyTorch's name for it), or ``"tanh"`` for GPT-2's approximation.
    """

    vocab_size: int
    block_size: int = 64
    bias: bool = field(default=True, kw_only=True)
    gelu: str = field(default="exact", kw_only=True)


class MaskedEncoderCache(NamedTuple):
    """Saved for the backward, which pops the lists. So a cache serves one backward."""

    embedding: EmbedCache
    blocks: list[Any]
    top: list[Any]


class MaskedEncoder(CrossEntropyModel):
    """An encoder with a head over the vocabulary.

    Its batches have ``inputs`` (B, T), ``targets`` (B, T), where -100 is ignored, and, if inputs are padded,
    ``lengths`` (B,).

    Args:
        config: the shape.
        seed: of the initial weights, which are GPT-2's.
        dtype: float32, or float64 for gradient checks.

    Attributes:
        head: the scores of all tokens; it shares the matrix of ``tok_emb``.
    """

    config_type = MaskedEncoderConfig
    batch_fields = BatchFields(("inputs", "targets"), ("lengths",))
    counts = "masked tokens"

    def __init__(self, config: MaskedEncoderConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        init_rng, C = generator(seed), config.n_embd
        self.tok_emb = Embedding(config.vocab_size, C, init_rng, dtype=dtype)
        self.pos_emb = LearnedPositions(config.block_size, C, init_rng, dtype=dtype)
        self.blocks = [
            TransformerBlock(
                C,
                config.n_head,
                init_rng,
                causal=False,
                dropout=config.dropout,
                bias=config.bias,
                approximate=config.gelu,
                out_std=residual_std(0.02, config.n_layer),
                dtype=dtype,
            )
            for _ in range(config.n_layer)
        ]
        self.norm = LayerNorm(C, bias=config.bias, dtype=dtype)
        self.transform = Linear(C, C, init_rng, dtype=dtype)
        self.transform_norm = LayerNorm(C, bias=config.bias, dtype=dtype)
        self.head = Linear(C, config.vocab_size, init_rng, dtype=dtype)
        self.head.weight = self.tok_emb.weight

    def forward(
        self, tokens: Array, *, lengths: Array | None = None, key: Key | None = None
    ) -> tuple[Array, MaskedEncoderCache]:
        """Score the tokens that could stand at each position.

        Args:
            tokens: (B, T) integers, T at most ``block_size``.
            lengths: (B,) integers; positions from this length on are padding, ``None`` if there is none.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, T, V) and the cache.

        Raises:
            ShapeError: if the sequences are longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        check_tokens("MaskedEncoder.forward: tokens", tokens, self.config.block_size)
        x, embedding = embed_forward(
            self.tok_emb, self.pos_emb, tokens, dropout=self.config.dropout, key=fold(key, "embedding")
        )  # (B, T, C)
        x, blocks = forward_blocks(self.blocks, x, key_lengths=lengths, key=key)
        x, norm = self.norm.forward(x)
        x, transform = self.transform.forward(x, key=fold(key, "transform"))
        x, gelu = gelu_forward(x, approximate=self.config.gelu)
        x, transform_norm = self.transform_norm.forward(x)
        logits, head = self.head.forward(x)  # (B, T, V)
        return logits, MaskedEncoderCache(embedding, blocks, [norm, transform, gelu, transform_norm, head])

    def backward(self, dlogits: Array, cache: MaskedEncoderCache) -> None:
        """Add the gradients of all parameters.

        Args:
            dlogits: (B, T, V) gradient of the logits.
            cache: from the forward; it serves one backward.
        """
        check_unused(self, self.blocks, cache.blocks)
        top = cache.top
        dx = self.head.backward(dlogits, top.pop())
        dx = self.transform_norm.backward(dx, top.pop())
        dx = gelu_backward(dx, top.pop())
        dx = self.transform.backward(dx, top.pop())
        dx = self.norm.backward(dx, top.pop())
        dx = backward_blocks(self.blocks, dx, cache.blocks)
        embed_backward(self.tok_emb, self.pos_emb, dx, cache.embedding)

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, MaskedEncoderCache]:
        """Logits (B, T, V), targets (B, T) and the forward's cache."""
        inputs, targets, lengths = batch
        logits, cache = self.forward(inputs, lengths=lengths, key=key)
        return logits, targets, cache

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one sequence of ``block_size`` tokens; see `minitrain.models.flops`."""
        T = self.config.block_size
        return Flops(
            tokens=T,
            products=linear_flops([*self.blocks, self.transform, self.head], T),
            attention=attention_flops(self.config.n_embd, len(self.blocks) * T * T),
        )
