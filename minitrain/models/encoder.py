"""An encoder that classifies texts (Devlin et al., 2018, arXiv:1810.04805, with pre-norm blocks as in GPT-2).

Every token sees every other. Texts of different lengths share a batch, padded at the end. No token attends to padding,
and the mean over positions leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..nn.attention.positions import LearnedPositions
from ..nn.layers.embedding import Embedding
from ..random import Key
from .common.classifier import Classifier
from .common.config import CheckedConfig
from .common.embedding import EmbedCache, check_tokens, embed_backward, embed_forward
from .flops import Flops, attention_flops, linear_flops


@dataclass(frozen=True)
class EncoderConfig(CheckedConfig):
    """Shape of an encoder.

    Attributes:
        vocab_size: number V of token ids.
        n_classes: number of classes.
        block_size: longest sequence.
        n_layer: number of blocks.
        n_head: number H of heads; divides ``n_embd``.
        n_embd: model width C.
        dropout: probability of dropping, in [0, 1).
        drop_path: probability that the last block's branches are left out for a sample (stochastic depth), in [0, 1);
            it grows from block to block in proportion to the depth.
        bias: whether the blocks' linear layers and the norms have biases.
        gelu: ``"exact"`` (or ``"none"``, PyTorch's name for it), or ``"tanh"`` for GPT-2's approximation.
        pool: ``"mean"`` classifies the mean of all positions, ``"first"`` the first one, as BERT does with ``[CLS]``.
        label_smoothing: share of each target spread over all classes in training, in [0, 1).
    """

    vocab_size: int
    n_classes: int
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    dropout: float = 0.0
    drop_path: float = 0.0
    bias: bool = True
    gelu: str = "exact"
    pool: str = "mean"
    label_smoothing: float = 0.0


class Encoder(Classifier):
    """An encoder with a classification head.

    Its ``forward`` takes tokens (B, T) and their ``lengths`` (B,).
    """

    config_type = EncoderConfig

    def make_embedding(self, rng: np.random.Generator, dtype: Any) -> None:
        """Tables of tokens and positions."""
        config = self.config
        self.tok_emb = Embedding(config.vocab_size, config.n_embd, rng, dtype=dtype)
        self.pos_emb = LearnedPositions(config.block_size, config.n_embd, rng, dtype=dtype)

    def embed(self, inputs: Array, *, rng: Key | None) -> tuple[Array, EmbedCache]:
        """Map tokens (B, T) to x (B, T, C).

        Raises:
            ShapeError: if the sequences are longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        check_tokens("Encoder.forward: inputs", inputs, self.config.block_size)
        return embed_forward(self.tok_emb, self.pos_emb, inputs, dropout=self.config.dropout, rng=rng)

    def embed_backward(self, dx: Array, cache: EmbedCache) -> None:
        """Gradients of both tables, from dx (B, T, C)."""
        embed_backward(self.tok_emb, self.pos_emb, dx, cache)

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one sequence of ``block_size`` tokens; see `minitrain.models.flops`."""
        T = self.config.block_size
        return Flops(
            tokens=T,
            products=linear_flops(self.blocks, T) + linear_flops(self.head, 1),
            attention=attention_flops(self.config.n_embd, len(self.blocks) * T * T),
        )
