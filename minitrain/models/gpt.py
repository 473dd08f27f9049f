"""GPT: a decoder-only transformer (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners").

It has token and position embeddings, pre-norm blocks with layer norms and GELU, a final norm, and an output layer that
shares its weight matrix with the token embedding. Other positions are a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nn.attention.heads import Rope
from ..nn.blocks.block import TransformerBlock
from ..nn.core.init import residual_std
from ..nn.layers.layer_norm import LayerNorm
from .common.config import TransformerConfig, check_positions
from .common.decoder import Decoder


@dataclass(frozen=True)
class GPTConfig(TransformerConfig):
    """Shape of a GPT; see also `TransformerConfig`.

    Attributes:
        vocab_size: number V of token ids.
        block_size: longest sequence.
        positions: ``"learned"`` adds a trained vector for each position, ``"sinusoidal"`` a fixed one; ``"rotary"``
            rotates queries and keys, ``"alibi"`` lowers scores with distance. See `minitrain.nn.attention.positions`.
        n_kv_head: number of key and value heads (grouped queries), a divisor of ``n_head``; ``None`` for ``n_head``.
        bias: whether linear layers and norms have biases.
        tie_weights: whether the output layer shares the token embedding's matrix.
        eps: added to the variance in the norms.
        gelu: ``"exact"`` (or ``"none"``, PyTorch's name for it), or ``"tanh"`` for GPT-2's approximation.
        loss_chunk: number of positions whose logits the loss holds at once, see ``linear_cross_entropy``; ``None`` for
            all.
    """

    vocab_size: int
    block_size: int = 64
    positions: str = field(default="learned", kw_only=True)
    n_kv_head: int | None = None
    bias: bool = False
    tie_weights: bool = True
    eps: float = field(default=1e-5, kw_only=True)
    gelu: str = "exact"
    loss_chunk: int | None = None

    def check_together(self) -> None:
        """Check the width that the positions need."""
        check_positions(self)


class GPT(Decoder):
    """A GPT language model with GPT-2's initialisation; see `Decoder`."""

    config_type = GPTConfig

    def make_block(self, init_rng: np.random.Generator, dtype: Any) -> TransformerBlock:
        """A block with layer norms and a GELU layer."""
        config = self.config
        return TransformerBlock(
            config.n_embd,
            config.n_head,
            init_rng,
            kv_heads=config.n_kv_head,
            rope=Rope() if config.positions == "rotary" else None,
            alibi=config.positions == "alibi",
            dropout=config.dropout,
            bias=config.bias,
            eps=config.eps,
            approximate=config.gelu,
            out_std=residual_std(0.02, config.n_layer),
            dtype=dtype,
        )

    def make_norm(self, dtype: Any) -> LayerNorm:
        """A layer norm."""
        return LayerNorm(self.config.n_embd, bias=self.config.bias, eps=self.config.eps, dtype=dtype)
