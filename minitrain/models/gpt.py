"""GPT: a decoder-only transformer (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners").

Token and position embeddings, pre-norm blocks with layer norms and GELU, a final norm, and an output layer that shares
its weight matrix with the token embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn.attention.positions import LearnedPositions
from ..nn.blocks.block import TransformerBlock
from ..nn.core.init import generator, residual_std
from ..nn.layers.embedding import Embedding
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..ops.activations.gelu import FORMS
from .checks import check_at_least, check_choice, check_config, check_heads, check_loss_chunk, check_share, check_types
from .decoder import Decoder


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a GPT.

    Attributes:
        vocab_size: number V of token ids.
        block_size: longest sequence.
        n_layer: number of blocks.
        n_head: number H of query heads; divides ``n_embd``.
        n_embd: model width C.
        n_kv_head: number of key and value heads (grouped queries), a divisor of ``n_head``; ``None`` for ``n_head``.
        dropout: probability of dropping, in [0, 1).
        bias: whether linear layers and norms have biases.
        tie_weights: whether the output layer shares the token embedding's matrix.
        gelu: ``"exact"`` (or ``"none"``, PyTorch's name for it), or ``"tanh"`` for GPT-2's approximation.
        loss_chunk: how many positions at a time the loss works on, so that the logits of all of them are never held
            (see ``linear_cross_entropy``); ``None`` for all at once.
    """

    vocab_size: int
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    n_kv_head: int | None = None
    dropout: float = 0.0
    bias: bool = False
    tie_weights: bool = True
    gelu: str = "exact"
    loss_chunk: int | None = None

    def __post_init__(self) -> None:
        """Check the values and how they fit together.

        Raises:
            ConfigError: naming the field, its value and what to change.
        """
        check_types(self)
        check_at_least(self, 1, "vocab_size", "block_size", "n_layer", "n_head", "n_embd")
        check_heads(self)
        check_loss_chunk(self)
        check_share(self, "dropout")
        check_choice(self, "gelu", FORMS)


class GPT(Decoder):
    """A GPT language model with GPT-2's initialisation.

    Args:
        config: the shape.
        seed: of the initial weights: normal with standard deviation 0.02, and 0.02 / sqrt(2 n_layer) where a layer
            writes to the residual stream.
        dtype: float32, or float64 for gradient checks.
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config, GPTConfig)
        rng = generator(seed)
        C = config.n_embd
        super().__init__(
            config,
            tok_emb=Embedding(config.vocab_size, C, rng, dtype=dtype),
            pos_emb=LearnedPositions(config.block_size, C, rng, dtype=dtype),
            blocks=[
                TransformerBlock(
                    C,
                    config.n_head,
                    rng,
                    kv_heads=config.n_kv_head,
                    dropout=config.dropout,
                    bias=config.bias,
                    approximate=config.gelu,
                    out_std=residual_std(0.02, config.n_layer),
                    dtype=dtype,
                )
                for _ in range(config.n_layer)
            ],
            norm=LayerNorm(C, bias=config.bias, dtype=dtype),
            head=Linear(C, config.vocab_size, rng, bias=False, dtype=dtype),
        )
