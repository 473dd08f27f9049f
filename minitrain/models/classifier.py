"""The frame of encoders that classify: embedding, blocks in which everyone sees everyone, a pooled vector, a head.

The encoder of texts and the vision transformer fill it; they differ in how an input becomes a sequence of vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..nn.blocks.block import PreNormBlockCache, TransformerBlock
from ..nn.blocks.branch import drop_path_rates
from ..nn.core.init import residual_std
from ..nn.core.module import Module
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..ops.activations.gelu import FORMS
from ..ops.classification.cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from ..ops.contract.loss import Loss
from ..ops.linear.linear import LinearCache
from ..ops.norms.layer_norm import LayerNormCache
from ..ops.sequences.mean_pool import MeanPoolCache, mean_pool_backward, mean_pool_forward
from ..random import Key, fold
from .blocks import backward_blocks, check_unused, forward_blocks
from .checks import check_at_least, check_batch, check_choice, check_heads, check_share, check_types

POOLINGS = ("mean", "first")
"""what is classified: the mean of all positions that are no padding, or the first one alone"""


def check_classifier(config: Any, *sizes: str) -> None:
    """Raise a ``ConfigError`` naming the first field of a classifier's configuration that does not fit.

    Args:
        config: the configuration.
        sizes: fields of its own that must be 1 or more.
    """
    check_types(config)
    check_at_least(config, 1, *sizes, "n_classes", "n_layer", "n_head", "n_embd")
    check_heads(config)
    check_share(config, "dropout")
    check_share(config, "drop_path")
    check_choice(config, "gelu", FORMS)
    check_choice(config, "pool", POOLINGS)


class ClassifierCache(NamedTuple):
    """What the backward needs. The lists are popped by it, so a cache serves one backward."""

    embedding: Any
    blocks: list[PreNormBlockCache]
    top: list[LayerNormCache | MeanPoolCache | LinearCache]


class ClassifierLossCache(NamedTuple):
    """What ``loss_backward`` needs."""

    model: ClassifierCache
    loss: CrossEntropyCache


class Classifier(Module, ABC):
    """An encoder with a classification head. A subclass sets its own embedding first, then calls ``build``."""

    config: Any

    def build(self, rng: np.random.Generator, dtype: Any) -> None:
        """Make the blocks, the final norm and the head as ``self.config`` says.

        Args:
            rng: source of the initial weights.
            dtype: their dtype.
        """
        config = self.config
        self.blocks = [
            TransformerBlock(
                config.n_embd,
                config.n_head,
                rng,
                causal=False,
                dropout=config.dropout,
                drop_path=rate,
                bias=config.bias,
                approximate=config.gelu,
                out_std=residual_std(0.02, config.n_layer),
                dtype=dtype,
            )
            for rate in drop_path_rates(config.drop_path, config.n_layer)
        ]
        self.norm = LayerNorm(config.n_embd, bias=config.bias, dtype=dtype)
        self.head = Linear(config.n_embd, config.n_classes, rng, dtype=dtype)

    @abstractmethod
    def embed(self, inputs: Array, *, rng: Key | None) -> tuple[Array, Any]:
        """Map inputs to x (B, T, C) and a cache."""

    @abstractmethod
    def embed_backward(self, dx: Array, cache: Any) -> None:
        """Put the gradients of the embedding's parameters where they belong, from dx (B, T, C)."""

    def forward(
        self, inputs: Array, *, lengths: Array | None = None, rng: Key | None = None
    ) -> tuple[Array, ClassifierCache]:
        """Score the classes.

        Args:
            inputs: (B, ...) what ``embed`` takes.
            lengths: (B,) integers; positions from this length on are padding, ``None`` if there is none.
            rng: key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, n_classes) and the cache.
        """
        x, embedding = self.embed(inputs, rng=fold(rng, "embedding"))  # (B, T, C)
        x, blocks = forward_blocks(self.blocks, x, key_lengths=lengths, rng=rng)
        x, norm = self.norm.forward(x)
        # The first position is the mean of one.
        pooled_lengths = lengths if self.config.pool == "mean" else array_module(x).ones(len(x), dtype=int)
        pooled, pool = mean_pool_forward(x, key_lengths=pooled_lengths)  # (B, T, C) -> (B, C)
        logits, head = self.head.forward(pooled, rng=rng)
        return logits, ClassifierCache(embedding, blocks, [norm, pool, head])

    def backward(self, dlogits: Array, cache: ClassifierCache) -> None:
        """Put the gradients of all parameters where they belong; inputs have none.

        Args:
            dlogits: (B, n_classes) gradient of the logits.
            cache: from the forward; it is used up.
        """
        check_unused(self, self.blocks, cache.blocks)
        top: list[Any] = cache.top
        dpooled = self.head.backward(dlogits, top.pop())
        dx = mean_pool_backward(dpooled, top.pop())  # (B, C) -> (B, T, C)
        dx = self.norm.backward(dx, top.pop())
        dx = backward_blocks(self.blocks, dx, cache.blocks)
        self.embed_backward(dx, cache.embedding)

    def loss(self, batch: Any, *, rng: Key | None = None) -> tuple[Loss, ClassifierLossCache]:
        """Cross-entropy of the classes, summed over the batch.

        Args:
            batch: anything with ``inputs`` (B, ...) and ``targets`` (B,), of which -100 does not count, and, if inputs
                are padded, ``lengths`` (B,).
            rng: key of the dropout masks; ``None`` means evaluation.

        Returns:
            Loss(total, count) in nats and the cache for ``loss_backward``.
        """
        check_batch(self, batch, "inputs", "targets")
        logits, cache = self.forward(batch.inputs, lengths=getattr(batch, "lengths", None), rng=rng)
        loss, loss_cache = cross_entropy_forward(logits, batch.targets)
        return loss, ClassifierLossCache(cache, loss_cache)

    def loss_backward(self, cache: ClassifierLossCache, dtotal: float = 1.0) -> None:
        """Gradients of ``dtotal * loss.total`` for all parameters."""
        dlogits, _, _ = cross_entropy_backward(dtotal, cache.loss)
        self.backward(dlogits, cache.model)
