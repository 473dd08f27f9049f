"""Llama: a decoder-only transformer (Touvron et al., 2023, arXiv:2302.13971; Llama 2, 2023, arXiv:2307.09288).

It differs from GPT-2 in these parts: root-mean-square norms, rotary positions in the attention instead of a table, a
gated feed-forward layer (SwiGLU), key heads shared by several query heads, no biases, and a separate output layer.

Its settings describe its relatives too. Mistral (Jiang et al., 2023, arXiv:2310.06825) has a ``window``, Qwen2 (Yang et
al., 2024, arXiv:2407.10671) a ``qkv_bias``, and Qwen3 (Yang et al., 2025, arXiv:2505.09388) ``qk_norm`` and a
``head_width``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConfigError
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
        head_width: width D of a head; ``None`` for ``n_embd / n_head``.
        n_hidden: width of the feed-forward layer; ``None`` for 8/3 C, rounded up to a multiple of 32, which has as many
            weights as an ungated layer of 4 C.
        tie_weights: whether the output layer shares the token embedding's matrix.
        rope_base: base of the rotary angles; larger for long texts.
        rope_scaling: how much longer texts may be than those of the training before.
        rope_kind: ``"linear"`` divides all positions by ``rope_scaling``; ``"llama3"`` slows down the slow rotations
            alone, see `minitrain.nn.Rope`.
        rope_low: of ``"llama3"``: the number of turns below which a rotation is slow.
        rope_high: of ``"llama3"``: the number of turns above which it is fast.
        rope_original: of ``"llama3"``: the longest text of the training before.
        qkv_bias: whether queries, keys and values have biases.
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
    head_width: int | None = field(default=None, kw_only=True)
    n_hidden: int | None = None
    tie_weights: bool = False
    rope_base: float = 10000.0
    rope_scaling: float = 1.0
    rope_kind: str = field(default="linear", kw_only=True)
    rope_low: float = field(default=1.0, kw_only=True)
    rope_high: float = field(default=4.0, kw_only=True)
    rope_original: int = field(default=8192, kw_only=True)
    qkv_bias: bool = field(default=False, kw_only=True)
    qk_norm: bool = False
    window: int | None = None
    eps: float = 1e-5
    loss_chunk: int | None = None

    def check_together(self) -> None:
        """Check the width that the positions need, and that the settings of the rotation fit together."""
        check_positions(self)
        if not self.rope_low < self.rope_high:
            raise ConfigError(f"rope_low = {self.rope_low} must be less than rope_high = {self.rope_high}")

    @property
    def rope(self) -> Rope | None:
        """The rotation of queries and keys, if there is one."""
        if self.positions != "rotary":
            return None
        return Rope(
            self.rope_base, self.rope_scaling, self.rope_kind, self.rope_low, self.rope_high, self.rope_original
        )

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
            head_width=config.head_width,
            window=config.window,
            rope=config.rope,
            alibi=config.positions == "alibi",
            qk_norm=config.qk_norm,
            eps=config.eps,
            dropout=config.dropout,
            bias=config.qkv_bias,
            out_bias=False,
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
