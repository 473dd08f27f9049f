"""GPT: a decoder-only transformer (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners").

Token and position embeddings, pre-norm blocks, a final norm, and an output layer that shares its weight matrix with
the token embedding. The backward is the forward read from the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..errors import ConfigError, ShapeError
from ..nn.block import TransformerBlock, TransformerBlockCache
from ..nn.embedding import Embedding
from ..nn.init import generator, residual_std
from ..nn.layer_norm import LayerNorm
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import into
from ..ops.contract import Into
from ..ops.cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from ..ops.dropout import DropoutCache, dropout_backward, dropout_forward
from ..ops.embedding import EmbeddingCache
from ..ops.gelu import FORMS
from ..ops.layer_norm import LayerNormCache
from ..ops.linear import LinearCache, linear_backward, linear_forward
from ..ops.loss import Loss
from ..ops.residual import ResidualCache, residual_backward, residual_forward
from ..random import Key, fold


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
        gelu: ``"none"`` for the exact GELU, ``"tanh"`` for GPT-2's.
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
    gelu: str = "none"

    def __post_init__(self) -> None:
        """Check the values and how they fit together.

        Raises:
            ConfigError: naming the field, its value and what to change.
        """
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: it must be 1 or more")
        if self.n_embd % self.n_head:
            near = max(self.n_head, round(self.n_embd / self.n_head) * self.n_head)
            raise ConfigError(
                f"n_embd = {self.n_embd} is not a multiple of n_head = {self.n_head}: try n_embd = {near}"
            )
        if self.n_kv_head is not None and (self.n_kv_head < 1 or self.n_head % self.n_kv_head):
            raise ConfigError(f"n_kv_head = {self.n_kv_head} does not divide n_head = {self.n_head}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout = {self.dropout}: it must be at least 0 and less than 1")
        if self.gelu not in FORMS:
            raise ConfigError(f"gelu = {self.gelu!r}: use 'none' (exact) or 'tanh' (GPT-2's form)")


class GPTCache(NamedTuple):
    """What the backward needs.

    The caches of blocks, and those of final norm and head, lie in lists that the backward pops, so that activations are
    freed on the way; a cache therefore serves one backward.
    """

    tokens: EmbeddingCache
    positions: EmbeddingCache
    embedded: ResidualCache
    dropout: DropoutCache
    blocks: list[TransformerBlockCache]
    norm_and_head: list[LayerNormCache | LinearCache]


class GPTLossCache(NamedTuple):
    """What ``loss_backward`` needs."""

    model: GPTCache
    loss: CrossEntropyCache


class GPT(Module):
    """A GPT language model with GPT-2's initialisation.

    Args:
        config: the shape.
        seed: of the initial weights: normal with standard deviation 0.02, and 0.02 / sqrt(2 n_layer) where a layer
            writes to the residual stream.
        dtype: float32, or float64 for gradient checks.
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        self.config = config
        rng = generator(seed)
        C = config.n_embd
        self.tok_emb = Embedding(config.vocab_size, C, rng, dtype=dtype)
        self.pos_emb = Embedding(config.block_size, C, rng, dtype=dtype)
        self.blocks = [
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
        ]
        self.norm = LayerNorm(C, bias=config.bias, dtype=dtype)
        self.head = Linear(C, config.vocab_size, rng, bias=False, dtype=dtype)
        if config.tie_weights:
            self.head.weight = self.tok_emb.weight

    def forward(self, tokens: Array, *, rng: Key | None = None) -> tuple[Array, GPTCache]:
        """Predict the next token at every position.

        Args:
            tokens: (B, T) integers, T at most ``block_size``.
            rng: key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, T, V) and the cache.

        Raises:
            ShapeError: if the sequences are longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        if tokens.ndim != 2 or tokens.shape[1] > self.config.block_size:
            raise ShapeError(
                f"GPT.forward: tokens has shape {tokens.shape}, expected (B, T) with T <= block_size = "
                f"{self.config.block_size}; cut the sequences or build the model with a larger block_size"
            )
        xp = array_module(self.tok_emb.weight.data)
        x, token_cache = self.tok_emb.forward(tokens)  # (B, T, C)
        positions = xp.broadcast_to(xp.arange(tokens.shape[1]), tokens.shape)  # (B, T)
        position, position_cache = self.pos_emb.forward(positions)
        x, embedded = residual_forward(x, position)
        x, dropout = dropout_forward(x, p=self.config.dropout, rng=fold(rng, "embedding"))
        block_caches = []
        for i, block in enumerate(self.blocks):
            x, block_cache = block.forward(x, rng=fold(rng, "blocks", i))
            block_caches.append(block_cache)
        x, norm = self.norm.forward(x)
        logits, head = linear_forward(x, self.head.weight.data)  # (B, T, V)
        return logits, GPTCache(token_cache, position_cache, embedded, dropout, block_caches, [norm, head])

    def backward(self, dlogits: Array, cache: GPTCache) -> None:
        """Put the gradients of all parameters where they belong.

        Args:
            dlogits: (B, T, V) gradient of the logits.
            cache: from the forward; it is used up.
        """
        if len(cache.blocks) != len(self.blocks):
            raise ShapeError("GPT.backward: this cache was used before; call forward again for another backward")
        top: list[Any] = cache.norm_and_head
        dx = linear_backward(dlogits, top.pop(), into=(None, into(self.head.weight), None))[0]
        dx = self.norm.backward(dx, top.pop())
        for block in reversed(self.blocks):
            dx = block.backward(dx, cache.blocks.pop())
        dx = dropout_backward(dx, cache.dropout)
        dx, dposition = residual_backward(dx, cache.embedded)
        self.pos_emb.backward(dposition, cache.positions)
        self.tok_emb.backward(dx, cache.tokens)

    def loss(self, batch: Any, *, rng: Key | None = None) -> tuple[Loss, GPTLossCache]:
        """Cross-entropy of the next token, summed over the batch.

        Args:
            batch: anything with ``inputs`` (B, T) and ``targets`` (B, T); targets of -100 do not count.
            rng: key of the dropout masks; ``None`` means evaluation.

        Returns:
            Loss(total, count) in nats and the cache for ``loss_backward``.
        """
        logits, cache = self.forward(batch.inputs, rng=rng)
        loss, loss_cache = cross_entropy_forward(logits, batch.targets)
        return loss, GPTLossCache(cache, loss_cache)

    def loss_backward(self, cache: GPTLossCache, dtotal: float = 1.0) -> None:
        """Gradients of ``dtotal * loss.total`` for all parameters; the logits' memory is used for their gradient."""
        logits = cache.loss.logits
        dlogits, _, _ = cross_entropy_backward(dtotal, cache.loss, into=(Into(logits), None, None))
        self.backward(dlogits, cache.model)
