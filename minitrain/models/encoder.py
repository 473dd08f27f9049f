"""An encoder that classifies texts (Devlin et al., 2018, arXiv:1810.04805, with pre-norm blocks as in GPT-2).

Every token attends to every other. A batch may have texts of different lengths, padded at the end. No token attends to
padding, and the mean over positions leaves it out.
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
from .common.config import ClassifierConfig, check_text_pool
from .common.embedding import EmbedCache, check_tokens, embed_backward, embed_forward
from .flops import Flops, attention_flops, linear_flops


@dataclass(frozen=True)
class EncoderConfig(ClassifierConfig):
    """Shape of an encoder; see also `ClassifierConfig`.

    Attributes:
        vocab_size: number V of token ids.
        n_classes: number of classes.
        block_size: longest sequence.
        pool: ``"mean"`` classifies the mean of all positions, ``"first"`` the first one, as BERT does with ``[CLS]``.
    """

    vocab_size: int
    n_classes: int
    block_size: int = 64
    pool: str = "mean"

    def check_together(self) -> None:
        """Check that texts can be pooled so."""
        check_text_pool(self)


class Encoder(Classifier):
    """An encoder with a classification head.

    Its ``forward`` takes tokens (B, T) and their ``lengths`` (B,).
    """

    config_type = EncoderConfig

    def make_embedding(self, init_rng: np.random.Generator, dtype: Any) -> None:
        """Tables of tokens and positions."""
        config = self.config
        self.tok_emb = Embedding(config.vocab_size, config.n_embd, init_rng, dtype=dtype)
        self.pos_emb = LearnedPositions(config.block_size, config.n_embd, init_rng, dtype=dtype)

    def embed(self, inputs: Array, *, key: Key | None) -> tuple[Array, EmbedCache]:
        """Map tokens (B, T) to x (B, T, C).

        Raises:
            ShapeError: if the sequences are longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        check_tokens("Encoder.forward: inputs", inputs, self.config.block_size)
        return embed_forward(self.tok_emb, self.pos_emb, inputs, dropout=self.config.dropout, key=key)

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
