"""Decoder-only language models: an embedding, causal blocks, a final norm, and a head over the vocabulary.

GPT and Llama differ in their parts. The backward is the forward in reverse.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...nn.attention.past import KeyValues
from ...nn.attention.positions import LearnedPositions, SinusoidalPositions
from ...nn.blocks.block import PreNormBlock, PreNormBlockCache
from ...nn.core.init import generator
from ...nn.core.parameter import into
from ...nn.core.ready import grads_ready
from ...nn.layers.embedding import Embedding
from ...nn.layers.layer_norm import LayerNorm
from ...nn.layers.linear import Linear
from ...nn.layers.rms_norm import RMSNorm
from ...ops.classification.linear_cross_entropy import (
    LinearCrossEntropyCache,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
)
from ...ops.contract.loss import Loss
from ...ops.linear.linear import LinearCache, linear_backward, linear_forward
from ...ops.norms.layer_norm import LayerNormCache
from ...ops.norms.rms_norm import RMSNormCache
from ...random import Key, fold
from ..batches import read_batch
from ..flops import Flops, attention_flops, linear_flops, visible_pairs
from .blocks import backward_blocks, check_unused, forward_blocks
from .config import check_config
from .cross_entropy import CrossEntropyModel, TargetLosses
from .embedding import EmbedCache, check_tokens, embed_backward, embed_forward


class DecoderCache(NamedTuple):
    """Saved for the backward.

    The caches of the blocks, the final norm and the head are in lists. The backward pops them, so activations are freed
    on the way, and a cache serves one backward.
    """

    embedding: EmbedCache
    blocks: list[PreNormBlockCache]
    norm_and_head: list[LayerNormCache | RMSNormCache | LinearCache]


class ChunkedLossCache(NamedTuple):
    """Saved for ``loss_backward`` if the logits were never held at once."""

    model: DecoderCache
    loss: LinearCrossEntropyCache


class Decoder(CrossEntropyModel):
    """A decoder-only language model. A subclass chooses its parts.

    Its batches have ``inputs`` (B, T) and ``targets`` (B, T); targets of -100 are ignored.

    Args:
        config: the shape; see ``config_type``.
        seed: of the initial weights: normal with standard deviation 0.02, and 0.02 / sqrt(2 n_layer) where a layer
            writes to the residual stream; token vectors are sqrt(C) times as large beside sinusoidal positions.
        dtype: float32, or float64 for gradient checks.

    Attributes:
        config_type: the class of its configuration, with ``vocab_size``, ``block_size``, ``n_layer``, ``n_embd``,
            ``dropout``, ``label_smoothing``, ``positions``, ``tie_weights`` and ``loss_chunk``.
        head: the output layer; with ``config.tie_weights`` it shares the matrix of ``tok_emb``.
    """

    counts = "tokens"

    def __init__(self, config: Any, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        init_rng = generator(seed)
        self.tok_emb = Embedding(config.vocab_size, config.n_embd, init_rng, dtype=dtype)
        self.pos_emb = self.make_positions(init_rng, dtype)
        self.blocks = [self.make_block(init_rng, dtype) for _ in range(config.n_layer)]
        self.norm: Any = self.make_norm(dtype)
        self.head = Linear(config.n_embd, config.vocab_size, init_rng, bias=False, dtype=dtype)
        if config.tie_weights:
            self.head.weight = self.tok_emb.weight
        if isinstance(self.pos_emb, SinusoidalPositions):
            self._outweigh_waves()

    def make_positions(
        self, init_rng: np.random.Generator, dtype: Any
    ) -> LearnedPositions | SinusoidalPositions | None:
        """Positions that are added to the tokens; ``None`` if the attention encodes them."""
        config = self.config
        if config.positions == "learned":
            return LearnedPositions(config.block_size, config.n_embd, init_rng, dtype=dtype)
        return SinusoidalPositions(config.n_embd) if config.positions == "sinusoidal" else None

    def _outweigh_waves(self) -> None:
        """Begin with token vectors sqrt(C) times as large, so that they are not lost among the waves.

        Waves are near 1, and token vectors near 0.02. Vaswani et al. (2017, arXiv:1706.03762) multiply by sqrt(C) in
        the forward. Larger initial weights do the same and leave the forward, and with it old checkpoints and exports,
        as it was. The final norm is made smaller by as much if the head shares them: logits begin as large as ever.
        """
        factor = self.tok_emb.weight.data.dtype.type(math.sqrt(self.config.n_embd))
        self.tok_emb.weight.data *= factor
        if self.config.tie_weights:
            self.norm.weight.data /= factor

    @abstractmethod
    def make_block(self, init_rng: np.random.Generator, dtype: Any) -> PreNormBlock:
        """A causal block."""

    @abstractmethod
    def make_norm(self, dtype: Any) -> LayerNorm | RMSNorm:
        """The final norm."""

    def forward(self, tokens: Array, *, key: Key | None = None) -> tuple[Array, DecoderCache]:
        """Predict the next token at every position.

        Args:
            tokens: (B, T) integers, T at most ``block_size``.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, T, V) and the cache.

        Raises:
            ShapeError: if the sequences are longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        x, cache = self.forward_hidden(tokens, key=key)
        logits, head = linear_forward(x, self.head.weight.data)  # (B, T, V)
        cache.norm_and_head.append(head)
        return logits, cache

    def forward_hidden(
        self, tokens: Array, *, past: list[KeyValues] | None = None, key: Key | None = None
    ) -> tuple[Array, DecoderCache]:
        """``forward`` without the head: maps tokens (B, T) to the head's input (B, T, C).

        Args:
            tokens: (B, T) integers.
            past: keys and values of the tokens before, of each block (see `new_past`); the new tokens'
                are added. There is no backward then.
            key: random key of the dropout masks; ``None`` means evaluation.
        """
        before = past[0].length if past else 0
        check_tokens(f"{type(self).__name__}.forward: tokens", tokens, self.config.block_size - before)
        positions = past[0].positions(tokens.shape[1]) if past else None
        embedding_key = fold(key, "embedding")
        x, embedding = embed_forward(
            self.tok_emb, self.pos_emb, tokens, positions=positions, dropout=self.config.dropout, key=embedding_key
        )  # (B, T, C)
        x, block_caches = forward_blocks(self.blocks, x, key=key, past=past)
        x, norm = self.norm.forward(x)
        return x, DecoderCache(embedding, block_caches, [norm])

    def new_past(self, batch: int = 1) -> list[KeyValues]:
        """Memory for the keys and values of some sequences of one length, for `forward_hidden`."""
        return [block.attention.new_past(self.config.block_size, batch) for block in self.blocks]

    def backward(self, dlogits: Array, cache: DecoderCache) -> None:
        """Add the gradients of all parameters.

        Args:
            dlogits: (B, T, V) gradient of the logits.
            cache: from the forward; it serves one backward.
        """
        check_unused(self, self.blocks, cache.blocks)
        top: list[Any] = cache.norm_and_head
        dx = linear_backward(dlogits, top.pop(), into=(None, into(self.head.weight), None))[0]
        self.backward_hidden(dx, cache)

    def backward_hidden(self, dx: Array, cache: DecoderCache) -> None:
        """``backward`` without the head, from the gradient dx (B, T, C) of the head's input."""
        grads_ready(self.head)
        dx = self.norm.backward(dx, cache.norm_and_head.pop())
        dx = backward_blocks(self.blocks, dx, cache.blocks)
        embed_backward(self.tok_emb, self.pos_emb, dx, cache.embedding)

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, DecoderCache]:
        """Logits (B, T, V), targets (B, T) and the forward's cache."""
        inputs, targets = batch
        logits, cache = self.forward(inputs, key=key)
        return logits, targets, cache

    def loss(self, batch: Any, *, key: Key | None = None) -> tuple[Loss, Any]:
        """Cross-entropy of the next token, summed over the batch; see `CrossEntropyModel.loss`.

        With ``config.loss_chunk``, not all logits are held at once. The gradients of the head are then computed here in
        training, and in the backward, if there is one, after an evaluation.
        """
        chunk = self.config.loss_chunk
        if chunk is None:
            return super().loss(batch, key=key)
        inputs, targets = read_batch(self, batch)
        hidden, cache = self.forward_hidden(inputs, key=key)
        loss, loss_cache = linear_cross_entropy_forward(
            hidden,
            self.head.weight.data,
            targets,
            label_smoothing=self.smoothing(key),
            chunk=chunk,
            gradients=key is not None,
        )
        return loss, ChunkedLossCache(cache, loss_cache)

    def losses(self, batch: Any, *, outputs: bool = False) -> TargetLosses:
        """The plain loss of each target; see `CrossEntropyModel.losses`. With ``loss_chunk``, few logits at a time."""
        chunk = self.config.loss_chunk
        if chunk is None or outputs:
            return super().losses(batch, outputs=outputs)
        inputs, targets = read_batch(self, batch)
        hidden, _ = self.forward_hidden(inputs)
        losses, _ = linear_cross_entropy_forward(
            hidden, self.head.weight.data, targets, chunk=chunk, gradients=False, each=True
        )
        return TargetLosses(losses.total, targets != self.ignore_index, None)

    def loss_backward(self, cache: Any, dtotal: float = 1.0) -> None:
        """Gradients of ``dtotal * loss.total`` for all parameters; the logits' memory is used for their gradient."""
        if not isinstance(cache, ChunkedLossCache):
            super().loss_backward(cache, dtotal)
            return
        check_unused(self, self.blocks, cache.model.blocks)
        weight_only = (None, into(self.head.weight), None, None, None)
        self.backward_hidden(linear_cross_entropy_backward(dtotal, cache.loss, into=weight_only)[0], cache.model)

    @property
    def attention_width(self) -> int:
        """The width of all query heads together, H D."""
        given: int | None = getattr(self.config, "head_width", None)
        return self.config.n_embd if given is None else given * self.config.n_head  # type: ignore[no-any-return]

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one sequence of ``block_size`` tokens; see `minitrain.models.flops`."""
        T = self.config.block_size
        pairs = len(self.blocks) * visible_pairs(T, getattr(self.config, "window", None))
        return Flops(
            tokens=T,
            products=linear_flops(self.blocks, T) + linear_flops(self.head, T),
            attention=attention_flops(self.attention_width, pairs),
        )
