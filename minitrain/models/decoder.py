"""The frame of decoder-only language models: embedding, causal blocks, a final norm, and a head over the vocabulary.

GPT and Llama fill it with different parts. The backward is the forward read from the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend.arrays import Array
from ..nn.attention.positions import LearnedPositions
from ..nn.blocks.block import PreNormBlock, PreNormBlockCache
from ..nn.core.module import Module
from ..nn.core.parameter import into
from ..nn.layers.embedding import Embedding
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..nn.layers.rms_norm import RMSNorm
from ..ops.classification.cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from ..ops.classification.linear_cross_entropy import (
    LinearCrossEntropyCache,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
)
from ..ops.contract.loss import Loss
from ..ops.contract.op import Into
from ..ops.linear.linear import LinearCache, linear_backward, linear_forward
from ..ops.norms.layer_norm import LayerNormCache
from ..ops.norms.rms_norm import RMSNormCache
from ..random import Key, fold
from .blocks import backward_blocks, check_unused, forward_blocks
from .checks import check_batch
from .embedding import EmbedCache, check_tokens, embed_backward, embed_forward
from .flops import Flops, attention_flops, linear_flops, visible_pairs


class DecoderCache(NamedTuple):
    """What the backward needs.

    The caches of blocks, and those of final norm and head, lie in lists that the backward pops, so that activations are
    freed on the way; a cache therefore serves one backward.
    """

    embedding: EmbedCache
    blocks: list[PreNormBlockCache]
    norm_and_head: list[LayerNormCache | RMSNormCache | LinearCache]


class DecoderLossCache(NamedTuple):
    """What ``loss_backward`` needs."""

    model: DecoderCache
    loss: CrossEntropyCache | LinearCrossEntropyCache


class Decoder(Module):
    """A decoder-only language model made of the given parts.

    Args:
        config: has ``block_size``, ``dropout``, ``tie_weights`` and ``loss_chunk``.
        tok_emb: the token embedding.
        pos_emb: the positions, or ``None`` where attention itself knows them.
        blocks: causal blocks.
        norm: the final norm.
        head: the output layer; with ``config.tie_weights`` it shares the matrix of ``tok_emb``.
    """

    def __init__(
        self,
        config: Any,
        *,
        tok_emb: Embedding,
        pos_emb: LearnedPositions | None,
        blocks: list[PreNormBlock],
        norm: LayerNorm | RMSNorm,
        head: Linear,
    ) -> None:
        self.config = config
        self.tok_emb = tok_emb
        self.pos_emb = pos_emb
        self.blocks = blocks
        self.norm: Any = norm
        self.head = head
        if config.tie_weights:
            self.head.weight = self.tok_emb.weight

    def forward(self, tokens: Array, *, rng: Key | None = None) -> tuple[Array, DecoderCache]:
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
        x, cache = self.forward_hidden(tokens, rng=rng)
        logits, head = linear_forward(x, self.head.weight.data)  # (B, T, V)
        cache.norm_and_head.append(head)
        return logits, cache

    def forward_hidden(self, tokens: Array, *, rng: Key | None = None) -> tuple[Array, DecoderCache]:
        """All of ``forward`` but the head: tokens (B, T) to what the head takes, (B, T, C)."""
        check_tokens(f"{type(self).__name__}.forward: tokens", tokens, self.config.block_size)
        x, embedding = embed_forward(
            self.tok_emb, self.pos_emb, tokens, dropout=self.config.dropout, rng=fold(rng, "embedding")
        )  # (B, T, C)
        x, block_caches = forward_blocks(self.blocks, x, rng=rng)
        x, norm = self.norm.forward(x)
        return x, DecoderCache(embedding, block_caches, [norm])

    def backward(self, dlogits: Array, cache: DecoderCache) -> None:
        """Put the gradients of all parameters where they belong.

        Args:
            dlogits: (B, T, V) gradient of the logits.
            cache: from the forward; it is used up.
        """
        check_unused(self, self.blocks, cache.blocks)
        top: list[Any] = cache.norm_and_head
        dx = linear_backward(dlogits, top.pop(), into=(None, into(self.head.weight), None))[0]
        self.backward_hidden(dx, cache)

    def backward_hidden(self, dx: Array, cache: DecoderCache) -> None:
        """All of ``backward`` but the head, from the gradient dx (B, T, C) of what the head takes."""
        dx = self.norm.backward(dx, cache.norm_and_head.pop())
        dx = backward_blocks(self.blocks, dx, cache.blocks)
        embed_backward(self.tok_emb, self.pos_emb, dx, cache.embedding)

    def loss(self, batch: Any, *, rng: Key | None = None) -> tuple[Loss, DecoderLossCache]:
        """Cross-entropy of the next token, summed over the batch.

        Args:
            batch: anything with ``inputs`` (B, T) and ``targets`` (B, T); targets of -100 do not count.
            rng: key of the dropout masks; ``None`` means evaluation. With ``config.loss_chunk`` the gradients of the
                head are then left to the backward, if there is one.

        Returns:
            Loss(total, count) in nats and the cache for ``loss_backward``.
        """
        check_batch(self, batch, "inputs", "targets")
        if self.config.loss_chunk is not None:
            hidden, cache = self.forward_hidden(batch.inputs, rng=rng)
            loss, chunked = linear_cross_entropy_forward(
                hidden, self.head.weight.data, batch.targets, chunk=self.config.loss_chunk, gradients=rng is not None
            )
            return loss, DecoderLossCache(cache, chunked)
        logits, cache = self.forward(batch.inputs, rng=rng)
        loss, loss_cache = cross_entropy_forward(logits, batch.targets)
        return loss, DecoderLossCache(cache, loss_cache)

    def loss_backward(self, cache: DecoderLossCache, dtotal: float = 1.0) -> None:
        """Gradients of ``dtotal * loss.total`` for all parameters; the logits' memory is used for their gradient."""
        if isinstance(cache.loss, LinearCrossEntropyCache):
            check_unused(self, self.blocks, cache.model.blocks)
            weight_only = (None, into(self.head.weight), None, None, None)
            self.backward_hidden(linear_cross_entropy_backward(dtotal, cache.loss, into=weight_only)[0], cache.model)
            return
        logits = cache.loss.logits
        dlogits, _, _ = cross_entropy_backward(dtotal, cache.loss, into=(Into(logits), None, None))
        self.backward(dlogits, cache.model)

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one sequence of ``block_size`` tokens; see `minitrain.models.flops`."""
        T = self.config.block_size
        pairs = len(self.blocks) * visible_pairs(T, getattr(self.config, "window", None))
        return Flops(
            tokens=T,
            products=linear_flops(self.blocks, T) + linear_flops(self.head, T),
            attention=attention_flops(self.config.n_embd, pairs),
        )
