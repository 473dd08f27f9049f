"""Llama: a decoder-only transformer (Touvron et al., 2023, arXiv:2302.13971; Llama 2, 2023, arXiv:2307.09288).

What sets it apart from GPT-2: root-mean-square norms, rotary positions inside the attention instead of a table, a gated
feed-forward layer (SwiGLU), key heads that several query heads share, no biases, and an output layer of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..nn.attention.heads import Rope
from ..nn.attention.self_attention import MultiHeadAttention
from ..nn.blocks.block import PreNormBlock
from ..nn.core.init import generator, residual_std
from ..nn.layers.embedding import Embedding
from ..nn.layers.gated_feed_forward import GatedFeedForward
from ..nn.layers.linear import Linear
from ..nn.layers.rms_norm import RMSNorm
from .checks import check_at_least, check_config, check_heads, check_loss_chunk, check_share, check_types
from .decoder import Decoder

HIDDEN_MULTIPLE = 32
"""a gated layer's width is rounded up to a multiple of this, for the sake of vector registers"""


@dataclass(frozen=True)
class LlamaConfig:
    """Shape of a Llama.

    Attributes:
        vocab_size: number V of token ids.
        block_size: longest sequence.
        n_layer: number of blocks.
        n_head: number H of query heads; divides ``n_embd``, into an even head width.
        n_embd: model width C.
        n_kv_head: number of key and value heads (grouped queries), a divisor of ``n_head``; ``None`` for ``n_head``.
        n_hidden: width of the feed-forward layer; ``None`` for 8/3 C, rounded up to a multiple of 32: as many weights
            as an ungated layer of 4 C has.
        dropout: probability of dropping, in [0, 1).
        tie_weights: whether the output layer shares the token embedding's matrix.
        rope_base: base of the rotary angles; larger for long texts.
        rope_scaling: positions are divided by it, to stretch a trained model over a longer text.
        qk_norm: whether queries and keys are normalised (Henry et al., 2020, arXiv:2010.04245).
        window: how many positions a query sees, itself among them; ``None`` for all before it.
        eps: added to the mean square in the norms.
        loss_chunk: how many positions at a time the loss works on, so that the logits of all of them are never held
            (see ``linear_cross_entropy``); ``None`` for all at once.
    """

    vocab_size: int
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    n_kv_head: int | None = None
    n_hidden: int | None = None
    dropout: float = 0.0
    tie_weights: bool = False
    rope_base: float = 10000.0
    rope_scaling: float = 1.0
    qk_norm: bool = False
    window: int | None = None
    eps: float = 1e-5
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
        if (self.n_embd // self.n_head) % 2:
            raise ConfigError(
                f"n_embd / n_head = {self.n_embd // self.n_head} is odd: rotary positions turn pairs of elements, "
                f"so try n_embd = {self.n_embd + self.n_head}"
            )
        check_share(self, "dropout")
        for name in ("n_hidden", "window"):
            if getattr(self, name) is not None:
                check_at_least(self, 1, name)
        for name in ("rope_base", "rope_scaling", "eps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: it must be greater than 0")

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer."""
        return self.n_hidden or math.ceil(8 * self.n_embd / 3 / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE


class Llama(Decoder):
    """A Llama language model.

    Args:
        config: the shape.
        seed: of the initial weights: normal with standard deviation 0.02, and 0.02 / sqrt(2 n_layer) where a layer
            writes to the residual stream.
        dtype: float32, or float64 for gradient checks.
    """

    def __init__(self, config: LlamaConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config, LlamaConfig)
        rng = generator(seed)
        C = config.n_embd
        super().__init__(
            config,
            tok_emb=Embedding(config.vocab_size, C, rng, dtype=dtype),
            pos_emb=None,
            blocks=[_block(config, rng, dtype) for _ in range(config.n_layer)],
            norm=RMSNorm(C, eps=config.eps, dtype=dtype),
            head=Linear(C, config.vocab_size, rng, bias=False, dtype=dtype),
        )


def _block(config: LlamaConfig, rng: np.random.Generator, dtype: Any) -> PreNormBlock:
    C, out_std = config.n_embd, residual_std(0.02, config.n_layer)
    attention = MultiHeadAttention(
        C,
        config.n_head,
        rng,
        kv_heads=config.n_kv_head,
        window=config.window,
        rope=Rope(config.rope_base, config.rope_scaling),
        qk_norm=config.qk_norm,
        dropout=config.dropout,
        bias=False,
        out_std=out_std,
        dtype=dtype,
    )
    feed_forward = GatedFeedForward(C, config.hidden, rng, out_std=out_std, dtype=dtype)
    norms = [RMSNorm(C, eps=config.eps, dtype=dtype) for _ in range(2)]
    return PreNormBlock(norms[0], attention, norms[1], feed_forward, dropout=config.dropout)
