"""Encoders that classify: an embedding, blocks with full attention, a pooled vector, a head.

The text encoder and the vision transformer differ in how they turn an input into a sequence of vectors.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ...nn.blocks.block import PreNormBlockCache, TransformerBlock
from ...nn.blocks.branch import drop_path_rates
from ...nn.core.init import generator, residual_std
from ...nn.layers.layer_norm import LayerNorm
from ...nn.layers.linear import Linear
from ...ops.linear.linear import LinearCache
from ...ops.norms.layer_norm import LayerNormCache
from ...ops.sequences.mean_pool import MeanPoolCache, mean_pool_backward, mean_pool_forward
from ...random import Key, fold
from ..batches import BatchFields
from .blocks import backward_blocks, check_unused, forward_blocks
from .config import check_config
from .cross_entropy import CrossEntropyModel


class ClassifierCache(NamedTuple):
    """Saved for the backward, which pops the lists. So a cache serves one backward."""

    embedding: Any
    blocks: list[PreNormBlockCache]
    top: list[LayerNormCache | MeanPoolCache | LinearCache | None]  # no pooling where vectors are side by side


class Classifier(CrossEntropyModel):
    """An encoder with a classification head. A subclass makes its own embedding in ``make_embedding``.

    Its batches have ``inputs`` (B, ...), ``targets`` (B,), where -100 is ignored, and, if inputs are padded,
    ``lengths`` (B,).

    Args:
        config: the shape; see ``config_type``.
        seed: of the initial weights, which are GPT-2's.
        dtype: float32, or float64 for gradient checks.
    """

    batch_fields = BatchFields(("inputs", "targets"), ("lengths",))
    classifies = True

    def __init__(self, config: Any, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        init_rng = generator(seed)
        self.make_embedding(init_rng, dtype)
        self.blocks = [
            TransformerBlock(
                config.n_embd,
                config.n_head,
                init_rng,
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
        # The scale of the first logits does not depend on how many vectors are side by side.
        std = 0.02 / self.pooled**0.5
        self.head = Linear(config.n_embd * self.pooled, config.n_classes, init_rng, std=std, dtype=dtype)

    @property
    def pooled(self) -> int:
        """Number of positions side by side that the head reads."""
        return 1

    @abstractmethod
    def make_embedding(self, init_rng: np.random.Generator, dtype: Any) -> None:
        """Set the layers that turn inputs into vectors."""

    @abstractmethod
    def embed(self, inputs: Array, *, key: Key | None) -> tuple[Array, Any]:
        """Map inputs to x (B, T, C) and a cache."""

    @abstractmethod
    def embed_backward(self, dx: Array, cache: Any) -> None:
        """Add the gradients of the embedding's parameters, from dx (B, T, C)."""

    def forward(
        self, inputs: Array, *, lengths: Array | None = None, key: Key | None = None
    ) -> tuple[Array, ClassifierCache]:
        """Score the classes.

        Args:
            inputs: (B, ...) input of ``embed``.
            lengths: (B,) integers; positions from this length on are padding, ``None`` if there is none.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, n_classes) and the cache.
        """
        x, embedding = self.embed(inputs, key=fold(key, "embedding"))  # (B, T, C)
        x, blocks = forward_blocks(self.blocks, x, key_lengths=lengths, key=key)
        x, norm = self.norm.forward(x)
        pool = None
        if self.config.pool == "concat":
            pooled = x.reshape(len(x), self.pooled * x.shape[2])  # (B, T, C) -> (B, T C)
        else:
            # Pooling the first position is a mean over one position.
            pooled_lengths = lengths if self.config.pool == "mean" else array_module(x).ones(len(x), dtype=int)
            pooled, pool = mean_pool_forward(x, key_lengths=pooled_lengths)  # (B, T, C) -> (B, C)
        logits, head = self.head.forward(pooled, key=key)
        return logits, ClassifierCache(embedding, blocks, [norm, pool, head])

    def backward(self, dlogits: Array, cache: ClassifierCache) -> None:
        """Add the gradients of all parameters; inputs have none.

        Args:
            dlogits: (B, n_classes) gradient of the logits.
            cache: from the forward; it serves one backward.
        """
        check_unused(self, self.blocks, cache.blocks, cache.top)
        top: list[Any] = cache.top
        dpooled = self.head.backward(dlogits, top.pop())
        pool = top.pop()
        if pool is None:
            dx = dpooled.reshape(len(dpooled), self.pooled, self.config.n_embd)  # (B, T C) -> (B, T, C)
        else:
            dx = mean_pool_backward(dpooled, pool)  # (B, C) -> (B, T, C)
        dx = self.norm.backward(dx, top.pop())
        dx = backward_blocks(self.blocks, dx, cache.blocks)
        self.embed_backward(dx, cache.embedding)

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, ClassifierCache]:
        """Logits (B, n_classes), targets (B,) and the forward's cache."""
        inputs, targets, lengths = batch
        logits, cache = self.forward(inputs, lengths=lengths, key=key)
        return logits, targets, cache
