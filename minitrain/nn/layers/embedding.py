"""The embedding table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError
from ...ops.linear.embedding import EmbeddingCache, embedding_backward, embedding_forward
from ..core.checks import check_sizes
from ..core.init import normal
from ..core.module import Module
from ..core.parameter import Parameter, into


class Embedding(Module):
    """A table of vectors, looked up by token id or by position.

    Args:
        entries: number V of rows.
        width: width C of a row.
        init_rng: source of the initial weights.
        padding_idx: id of padding, whose row starts at zero and gets no gradient.
        std: standard deviation of the initial weights.
        dtype: their dtype.

    Attributes:
        weight: (V, C).

    Raises:
        ConfigError: if a size is not a whole number of at least 1, or ``padding_idx`` is not an id of the table.
    """

    def __init__(
        self,
        entries: int,
        width: int,
        init_rng: np.random.Generator,
        *,
        padding_idx: int | None = None,
        std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        check_sizes("Embedding", entries=entries, width=width)
        self.weight = Parameter(normal(init_rng, (entries, width), std, dtype))
        self.padding_idx = padding_idx
        if padding_idx is not None:
            if not 0 <= padding_idx < entries:
                raise ConfigError(f"Embedding: padding_idx = {padding_idx} must be in [0, entries = {entries})")
            self.weight.data[padding_idx] = 0

    def forward(self, ids: Array) -> tuple[Array, EmbeddingCache]:
        """Map ids (...,) to out (..., C)."""
        return embedding_forward(ids, self.weight.data, padding_idx=self.padding_idx)

    def backward(self, dout: Array, cache: EmbeddingCache) -> None:
        """Add dout (..., C) to the gradient of the rows that were looked up."""
        embedding_backward(dout, cache, into=(None, into(self.weight)))
