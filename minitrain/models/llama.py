"""Llama: a decoder-only transformer (Touvron et al., 2023, arXiv:2302.13971; Llama 2, 2023, arXiv:2307.09288).

It differs from GPT-2 in these parts: root-mean-square norms, rotary positions in the attention instead of a table, a
gated feed-forward layer (SwiGLU), key heads shared by several query heads, no biases, and a separate output layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nn.attention.heads import Rope
from ..nn.attention.self_attention import MultiHeadAttention
from ..nn.blocks.block import PreNormBlock
from ..nn.core.init import residual_std
from ..nn.layers.gated_feed_forward import GatedFeedForward
from ..nn.layers.rms_norm import RMSNorm
from .common.config import TransformerConfig, check_positions
from .common.decoder import Decoder

HIDDEN_MULTIPLE = 32
"""A gated layer's width is rounded up to a multiple of this, which fills vector registers."""


@dataclass(frozen=True)
class LlamaConfig(TransformerConfig):
    """Shape of a Llama; see also `TransformerConfig`.

    Attributes:
        vocab_size: number V of token ids.
        block_size: longest sequence.
        positions: ``"rotary"`` (Llama's own), ``"alibi"``, ``"learned"`` or ``"sinusoidal"``; see `GPTConfig`.
        n_head: number H of query heads; divides ``n_embd`` into an even head width where positions are rotary.
        n_kv_head: number of key and value heads (grouped queries), a divisor of ``n_head``; ``None`` for ``n_head``.
        n_hidden: width of the feed-forward layer; ``None`` for 8/3 C, rounded up to a multiple of 32, which has as many
            weights as an ungated layer of 4 C.
        tie_weights: whether the output layer shares the token embedding's matrix.
        rope_base: base of the rotary angles; larger for long texts.
        rope_scaling: divisor of the positions, to use a trained model on longer texts.
        qk_norm: whether queries and keys are normalised (Henry et al., 2020, arXiv:2010.04245).
        window: how many positions a query sees, including itself; ``None`` for all earlier ones.
        eps: added to the mean square in the norms.
        loss_chunk: number of positions whose logits the loss holds at once, see ``linear_cross_entropy``; ``None`` for
            all.
    """

    vocab_size: int
    block_size: int = 64
    positions: str = field(default="rotary", kw_only=True)
    n_kv_head: int | None = None
    n_hidden: int | None = None
    tie_weights: bool = False
    rope_base: float = 10000.0
    rope_scaling: float = 1.0
    qk_norm: bool = False
    window: int | None = None
    eps: float = 1e-5
    loss_chunk: int | None = None

    def check_together(self) -> None:
        """Check the width that the positions need."""
        check_positions(self)

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer."""
        return self.n_hidden or math.ceil(8 * self.n_embd / 3 / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE


class Llama(Decoder):
    """A Llama language model; see `Decoder`."""

    config_type = LlamaConfig

    def make_block(self, init_rng: np.random.Generator, dtype: Any) -> PreNormBlock:
        """A block with root-mean-square norms, rotary positions and a gated layer."""
        config, out_std = self.config, residual_std(0.02, self.config.n_layer)
        attention = MultiHeadAttention(
            config.n_embd,
            config.n_head,
            init_rng,
            kv_heads=config.n_kv_head,
            window=config.window,
            rope=Rope(config.rope_base, config.rope_scaling) if config.positions == "rotary" else None,
            alibi=config.positions == "alibi",
            qk_norm=config.qk_norm,
            dropout=config.dropout,
            bias=False,
            out_std=out_std,
            dtype=dtype,
        )
        feed_forward = GatedFeedForward(config.n_embd, config.hidden, init_rng, out_std=out_std, dtype=dtype)
        return PreNormBlock(
            self.make_norm(dtype), attention, self.make_norm(dtype), feed_forward, dropout=config.dropout
        )

    def make_norm(self, dtype: Any) -> RMSNorm:
        """A root-mean-square norm."""
        return RMSNorm(self.config.n_embd, eps=self.config.eps, dtype=dtype)
