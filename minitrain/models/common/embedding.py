"""The input of the first block: vectors of the tokens plus their positions, with dropout."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module, check_array, is_cupy
from ...backend.deferred import watch
from ...errors import DataError, ShapeError
from ...nn.attention.positions import LearnedPositions, LearnedPositionsCache, SinusoidalPositions
from ...nn.layers.embedding import Embedding
from ...ops.linear.dropout import DropoutCache, dropout_backward, dropout_forward
from ...ops.linear.embedding import EmbeddingCache
from ...random import Key

Positions = LearnedPositions | SinusoidalPositions | None
"""``None`` if the attention encodes the positions."""


class EmbedCache(NamedTuple):
    """Saved for the backward."""

    tokens: EmbeddingCache
    positions: LearnedPositionsCache | None
    dropout: DropoutCache


def check_tokens(where: str, tokens: Array, longest: int) -> None:
    """Raise a ``ShapeError`` unless tokens are an array (B, T) with T at most ``longest``."""
    check_array(where, tokens)
    if tokens.ndim != 2 or tokens.shape[1] > longest:
        raise ShapeError(
            f"{where} has shape {tokens.shape}, expected (B, T) with T <= block_size = {longest}; "
            "cut the sequences or build the model with a larger block_size"
        )


def unpadded_lengths(where: str, tokens: Array, pad_idx: int) -> Array:
    """The number of tokens before the padding in each row of tokens (B, T): (B,).

    Raises:
        DataError: if padding comes before a token; on a GPU, with the next transfer to the host.
    """
    xp = array_module(tokens)
    real = tokens != pad_idx  # (B, T)
    lengths: Array = real.sum(axis=1)
    wrong = (real != (xp.arange(tokens.shape[1]) < lengths[:, None])).any()
    error = DataError(f"{where}: a row has padding (pad_idx = {pad_idx}) before a token; put all padding at the end")
    if is_cupy(tokens):
        watch(xp, (where, "padding", pad_idx), wrong.astype(xp.int64), 0, lambda _: error)
    elif wrong:
        raise error
    return lengths


def embed_forward(
    table: Embedding,
    places: Positions,
    tokens: Array,
    *,
    positions: Array | None = None,
    scale: float = 1.0,
    dropout: float,
    key: Key | None,
) -> tuple[Array, EmbedCache]:
    """Map tokens (B, T) to x (B, T, C).

    Args:
        table: the token embedding.
        places: adds the positions.
        tokens: (B, T) integers.
        positions: (T,) integers; 0, 1, ... by default.
        scale: factor of the tokens' vectors.
        dropout: probability of dropping an element of the sum.
        key: random key of the mask; ``None`` means evaluation.
    """
    x, token_cache = table.forward(tokens)
    if scale != 1:
        x = x * x.dtype.type(scale)
    position_cache = None
    if places is not None:
        x, position_cache = places.forward(x, positions=positions)
    x, dropout_cache = dropout_forward(x, p=dropout, key=key)
    return x, EmbedCache(token_cache, position_cache, dropout_cache)


def embed_backward(table: Embedding, places: Any, dx: Array, cache: EmbedCache, *, scale: float = 1.0) -> None:
    """Add the gradients of the tables, from dx (B, T, C)."""
    dx = dropout_backward(dx, cache.dropout)
    if places is not None:
        dx = places.backward(dx, cache.positions)
    if scale != 1:
        dx = dx * dx.dtype.type(scale)
    table.backward(dx, cache.tokens)
