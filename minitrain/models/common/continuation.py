"""Texts that a decoder writes to its inputs, token by token: what is kept of them, and greedy choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...backend.arrays import Array, array_module, to_numpy
from ...nn.attention.past import KeyValues


class Continuation:
    """B texts of one length that grow by a token at a time.

    Args:
        decode: maps the next token of each text, (B, 1) int32, to logits (B, 1, V), and adds its keys to ``past``.
        past: the keys and values of each block: of the texts, and of their inputs.
        batch: number B of texts.
    """

    def __init__(
        self, decode: Callable[[Array], Array], past: Sequence[tuple[KeyValues, KeyValues]], batch: int
    ) -> None:
        self.batch = batch
        self._decode, self._past = decode, past

    def scores_after(self, tokens: Array) -> Array:
        """The logits (B, V) of what follows ``tokens`` (B,), one for each text."""
        return self._decode(tokens[:, None])[:, -1]

    def select(self, rows: Array) -> None:
        """Make text ``i`` what text ``rows[i]`` was; both must have the same input."""
        for own, _ in self._past:
            own.select(rows)


def write_greedily(texts: Continuation, tokens: Array, *, end: int | None, pad: int, most: int) -> Array:
    """The most likely token up to the end token, for each text.

    Args:
        texts: the texts, without a token.
        tokens: (B,) int32 the tokens that they begin with.
        end: the token that ends a text; the rest of its row is padding. ``None`` if there is none.
        pad: the id of padding, which comes only after the end.
        most: largest number of tokens to write.

    Returns:
        (B, 1 + n) int32 with n at most ``most``: the first tokens and the written ones.
    """
    xp = array_module(tokens)
    columns, done = [tokens], xp.zeros(texts.batch, dtype=bool)
    while len(columns) <= most and not to_numpy(done.all()):
        scores = texts.scores_after(columns[-1])
        scores[:, pad] = -xp.inf
        columns.append(xp.where(done, pad, scores.argmax(axis=-1)).astype(xp.int32))
        if end is not None:
            done |= columns[-1] == end
    return xp.stack(columns, axis=1)  # type: ignore[no-any-return]
