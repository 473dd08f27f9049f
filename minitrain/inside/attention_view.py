"""Attention patterns over tokens, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.arrays import to_numpy
from ..display.grid import heat_map
from ..display.markup import block, element, quiet, shown
from ..errors import ConfigError, ShapeError

WIDE, WIDEST, READABLE = 460.0, 700.0, 9.0  # pixels of the pattern of one head, and of a cell with a label
NARROW = 190.0  # pixels of each of several
CELLS = (1.0, 30.0)  # pixels of a cell: the smallest and the largest
VISIBLE = {"\n": "↵", "\t": "→"}


class AttentionView:
    """The attention pattern of one head or of all heads over tokens. A notebook shows it as grids.

    Each row is a query, each column a key: the stronger the color of a field, the more the query takes from the key.
    Fields that are large enough have their share in percent.

    Args:
        weights: (H, T, S), (1, H, T, S) or (T, S), as `capture` gives them for ``blocks.0.attention.weights``.
        tokens: a label for each of the S keys, such as the characters of a text.
        queries: a label for each of the T queries; by default they are the last T of the tokens.
        head: which head to show; ``None`` for all.
        largest: the share with the full color; ``None`` for the largest that is shown.
        title: the text above the picture.

    Raises:
        ShapeError: if the weights have another shape, or there is not one token for each key.
        ConfigError: if there is no such head.

    Example:
        >>> with capture(model, "blocks.0.attention.weights") as seen:
        ...     model.forward(tokenizer.encode("a rose")[None])
        >>> AttentionView(seen["blocks.0.attention.weights"], "a rose")
    """

    def __init__(
        self,
        weights: Any,
        tokens: Sequence[str],
        *,
        queries: Sequence[str] | None = None,
        head: int | None = None,
        largest: float | None = None,
        title: str = "",
    ) -> None:
        patterns = np.asarray(to_numpy(weights), np.float64)
        if patterns.ndim == 4 and patterns.shape[0] == 1:
            patterns = patterns[0]
        if patterns.ndim == 2:
            patterns = patterns[None]
        if patterns.ndim != 3:
            raise ShapeError(
                f"AttentionView: the weights have shape {patterns.shape}, not (H, T, S); give one sample: weights[0]"
            )
        heads, rows, columns = patterns.shape
        if head is not None and not 0 <= head < heads:
            raise ConfigError(f"AttentionView: head = {head} must be one of 0 to {heads - 1}")
        queries = list(tokens)[max(0, len(tokens) - rows) :] if queries is None else queries
        if (len(queries), len(tokens)) != (rows, columns):
            raise ShapeError(
                f"AttentionView: {len(tokens)} tokens for {columns} keys and {len(queries)} labels for {rows} queries; "
                "give one for each, and queries=... if these are not the last of the tokens"
            )
        self.heads = range(heads) if head is None else range(head, head + 1)
        self.patterns, self.title = patterns[self.heads.start : self.heads.stop], title
        self.largest = largest or float(self.patterns.max(initial=0.0)) or 1.0
        self.rows, self.columns = ([_visible(str(label)) for label in labels] for labels in (queries, tokens))

    def __repr__(self) -> str:
        heads, queries, keys = self.patterns.shape
        return f"<AttentionView of {heads} head{'s' * (heads > 1)}, {queries} queries, {keys} keys>"

    @shown
    def _repr_html_(self) -> str:
        alone = len(self.patterns) == 1
        size = max(self.patterns.shape[1:], default=1)
        cell = float(np.clip((max(WIDE, min(READABLE * size, WIDEST)) if alone else NARROW) / size, *CELLS))
        grids = [
            element(
                "span", heat_map(one, self.rows, self.columns, cell=cell, largest=self.largest, title=f"head {head}")
            )
            for head, one in zip(self.heads, self.patterns, strict=True)
        ]
        note = f"row: the token that looks; column: where it looks; the strongest color is {self.largest:.0%}"
        title = [element("div", element("b", self.title))] if self.title else []
        return block(*title, element("div", *grids, style="display:flex;flex-wrap:wrap;gap:.8em"), quiet(note))


def _visible(label: str) -> str:
    """A label whose line breaks can be seen, and its spaces where it begins or ends with some."""
    inner = label.strip(" ")
    before = len(label) - len(label.lstrip(" "))
    spaced = "·" * before + inner + "·" * (len(label) - len(inner) - before)
    return "".join(VISIBLE.get(letter, letter) for letter in spaced)
