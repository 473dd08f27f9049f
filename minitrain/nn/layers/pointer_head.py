"""A head that chooses the next token from the vocabulary or copies one of the source (See et al., 2017)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...ops.attention.pointer import PointerCache, pointer_backward, pointer_forward
from ...ops.contract.op import Target
from ...ops.linear.linear import LinearCache
from ...random import Key
from ..core.module import Module
from .linear import Linear


class PointerHeadCache(NamedTuple):
    """Saved for the backward."""

    query: LinearCache
    gate: LinearCache
    pointer: PointerCache


class PointerHead(Module):
    """Mixes the logits of a vocabulary with copies of source tokens; see `minitrain.ops.pointer_forward`.

    The keys are the encoder's outputs themselves: a map of the queries alone can compare any of their parts.

    Args:
        width: width C of the decoder's stream and of the memory.
        init_rng: source of the initial weights.
        dtype: dtype of the weights.

    Attributes:
        query: Linear, C -> C.
        gate: Linear, C -> 1; the logit of choosing from the vocabulary, 0 at first.
    """

    def __init__(self, width: int, init_rng: np.random.Generator, *, dtype: Any = np.float32) -> None:
        self.query = Linear(width, width, init_rng, dtype=dtype)
        self.gate = Linear(width, 1, init_rng, std=0.0, dtype=dtype)

    def forward(
        self,
        logits: Array,
        x: Array,
        memory: Array,
        source: Array,
        *,
        key_lengths: Array | None = None,
        key: Key | None = None,
    ) -> tuple[Array, PointerHeadCache]:
        """Mix.

        Args:
            logits: (B, T, V) of the vocabulary.
            x: (B, T, C) the decoder's last stream.
            memory: (B, S, C) the encoder's output.
            source: (B, S) the source's tokens.
            key_lengths: (B,) integers; the source from this length on is padding.
            key: not used here, but by an adapter that replaces a layer.

        Returns:
            log_p (B, T, V) and the cache.
        """
        q, query = self.query.forward(x, key=key)
        u, gate = self.gate.forward(x, key=key)  # (B, T, 1)
        log_p, pointer = pointer_forward(logits, q, memory, u[..., 0], source, key_lengths=key_lengths)
        return log_p, PointerHeadCache(query, gate, pointer)

    def backward(self, dlog_p: Array, cache: PointerHeadCache, *, dmemory: Target = None) -> tuple[Array, Array, Array]:
        """Map dlog_p (B, T, V) to dlogits (B, T, V), dx (B, T, C) and dmemory (B, S, C)."""
        dlogits, dq, dk, dgate, _ = pointer_backward(dlog_p, cache.pointer, into=(None, None, dmemory, None, None))
        dx = self.query.backward(dq, cache.query) + self.gate.backward(dgate[..., None], cache.gate)
        return dlogits, dx, dk
