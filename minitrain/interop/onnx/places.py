"""Where tokens are: positions counted from the length of the cache, tables of positions, and masks.

The new tokens of a call are the last of a longer sequence. With P tokens in the cache and T new ones, there are
S = P + T keys, and query t is at position P + t. The graph reads P from the shape of the first cache input.

A mask is an array that is added to the scores: ALiBi's term where a query may attend to a key, and a number that
leaves no probability where it may not. The operator Attention has an attribute for causal masks too. It is not used:
what it means with a cache was settled only after the operator set 23, and programs differ.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...nn.attention.heads import Rope, prepare
from ...nn.attention.positions import LearnedPositions, SinusoidalPositions, alibi_slopes
from .graph import Graph, Name

HIDDEN = -1e30
"""Added to the score of a key that is not visible: finite, so that a row without visible keys has no NaN."""
FLOAT, INT64 = 1, 7
"""The numbers of float32 and int64 in ONNX, as the attribute ``to`` of Cast wants them."""

Made = TypeVar("Made")


class Mask(NamedTuple):
    """The properties of a mask that attention needs."""

    added: Name  # float32 to add to the scores, broadcasts to (B, H, T, S)
    live: Name | None = None  # float32 (B, 1, 1, 1): 0 for a sample without any key, whose output is 0; else 1


class Places:
    """The positions of the new tokens and of all keys.

    Args:
        g: the graph.
        length: the number T of new tokens, int64 (1,).
        past: the number P of tokens in the cache, likewise; ``None`` without a cache.
        longest: the length of tables of positions, the model's ``block_size``.
        total: the number S of keys, likewise, if they are of another sequence (cross-attention).

    Attributes:
        total: the number S of keys, int64 (1,).
        positions: int64 (T,), the positions of the new tokens.
        keys: int64 (S,), the positions of the keys.
    """

    def __init__(self, g: Graph, length: Name, past: Name | None, longest: int, *, total: Name | None = None) -> None:
        self.g, self.length, self.longest = g, length, longest
        self.positions = self.keys = count(g, length)
        self.total = length
        if past is not None:
            self.positions = g.node("Add", self.positions, past)
            total = g.node("Add", past, length)
        if total is not None:
            self.total, self.keys = total, count(g, total)
        self._made: dict[Hashable, Any] = {}

    def added_positions(self, x: Name, layer: LearnedPositions | SinusoidalPositions | None) -> Name:
        """The sum of x (B, T, C) and the vectors of the positions; x itself if the attention encodes them."""
        if layer is None:
            return x
        self.g.require(layer, LearnedPositions, SinusoidalPositions)
        if isinstance(layer, LearnedPositions):
            table = self.g.weight(layer.weight)
        else:  # what the layer adds to zeros is its table
            waves, _ = layer.forward(np.zeros((1, self.longest, layer.width), np.float32))
            table = self.g.constant(waves[0])
        return self.g.node("Add", x, self.g.node("Gather", table, self.positions))

    def rotated(self, x: Name, rope: Rope, head_width: int) -> Name:
        """Queries or keys x (B, H, T, D), rotated by their positions."""
        g = self.g
        cos, sin = self._once(("angles", rope, head_width), lambda: self._angles(rope, head_width))
        if g.fused:
            ids = self._once("of each sample", lambda: self._of_each_sample(g.size(x, 0)))
            return g.node("RotaryEmbedding", x, cos, sin, ids)
        cos, sin = self._once(
            ("rows", cos, sin), lambda: [g.node("Gather", table, self.positions) for table in (cos, sin)]
        )  # (T, D/2)
        first, second = g.nodes_of("Split", (x, g.ints(head_width // 2, head_width // 2)), 2, axis=-1)
        low = g.node("Sub", g.node("Mul", first, cos), g.node("Mul", second, sin))
        high = g.node("Add", g.node("Mul", first, sin), g.node("Mul", second, cos))
        return g.node("Concat", low, high, axis=-1)

    def mask(self, *, causal: bool, window: int | None, alibi: int | None, lengths: Name | None) -> Mask | None:
        """The mask of a layer; layers with equal options share it.

        Args:
            causal: whether a query sees no later key.
            window: how many keys a query sees, see ``attention_forward``.
            alibi: number H of heads if ALiBi lowers the scores, else ``None``.
            lengths: int64 (B,), the number of keys of each sample that are not padding; ``None`` if none is.

        Returns:
            ``None`` if every query sees every key.
        """
        hidden: Name | None = None
        if causal or window is not None:
            hidden = self._once(("hidden", causal, window), lambda: self._hidden(causal, window))  # (T, S)
        if alibi is not None:
            lowered = self._once(("alibi", alibi), lambda: self._lowered(alibi))  # (1, H, T, S)
            hidden = lowered if hidden is None else self._sum(hidden, lowered)
        if lengths is None:
            return None if hidden is None else Mask(hidden)
        padding = self._once(("padding", lengths), lambda: self._padding(lengths))  # (B, 1, T, S)
        live = self._once(("live", lengths), lambda: self._live(lengths))
        return Mask(padding if hidden is None else self._sum(hidden, padding), live)

    def _angles(self, rope: Rope, head_width: int) -> list[Name]:
        """Cosines and sines of all positions, each (longest, D/2)."""
        _, prepared = prepare(np.zeros((1, self.longest, 1, head_width), np.float32), None, rope)
        assert prepared.rope is not None  # its cache has the angles
        return [self.g.constant(table[:, 0]) for table in (prepared.rope.cos, prepared.rope.sin)]

    def _of_each_sample(self, batch: Name) -> Name:
        """(B, T) int64: the positions, the same for all samples."""
        g = self.g
        shape = g.node("Concat", batch, self.length, axis=0)
        return g.node("Expand", g.node("Unsqueeze", self.positions, g.ints(0)), shape)

    def _hidden(self, causal: bool, window: int | None) -> Name:
        """(T, S): 0 where a query may attend, `HIDDEN` where it may not."""
        g, distance = self.g, self._distance()
        seen: list[Name] = []
        if causal:
            seen.append(g.node("GreaterOrEqual", distance, g.constant(0, np.int64)))
        if window is not None:
            seen.append(g.node("Less", g.node("Abs", distance), g.constant(window, np.int64)))
        visible = seen[0] if len(seen) == 1 else g.node("And", *seen)
        return g.node("Where", visible, g.constant(0), g.constant(HIDDEN))

    def _lowered(self, heads: int) -> Name:
        """(1, H, T, S): ``-slope * distance``."""
        slopes = self.g.constant(-alibi_slopes(heads).astype(np.float32)[None, :, None, None])
        distance = self.g.node("Cast", self.g.node("Abs", self._distance()), to=FLOAT)
        return self.g.node("Mul", slopes, distance)

    def _padding(self, lengths: Name) -> Name:
        """(B, 1, T, S): 0 for a key before the sample's length, `HIDDEN` for padding."""
        g = self.g
        real = g.node("Less", self.keys, g.node("Unsqueeze", lengths, g.ints(1, 2, 3)))  # (B, 1, 1, S)
        row = g.node("Where", real, g.constant(0), g.constant(HIDDEN))
        one = g.ints(1)
        # The operator Attention wants a row for each query.
        return g.node("Expand", row, g.node("Concat", one, one, self.length, one, axis=0))

    def _live(self, lengths: Name) -> Name:
        """(B, 1, 1, 1): 1 for a sample with keys, 0 for one of padding alone."""
        some = self.g.node("Greater", lengths, self.g.constant(0, np.int64))
        return self.g.node("Unsqueeze", self.g.node("Cast", some, to=FLOAT), self.g.ints(1, 2, 3))

    def _distance(self) -> Name:
        """(T, S) int64: how far a key is before a query; negative for later keys."""
        g = self.g
        return self._once("distance", lambda: g.node("Sub", g.node("Unsqueeze", self.positions, g.ints(1)), self.keys))

    def _sum(self, a: Name, b: Name) -> Name:
        return self._once(("sum", a, b), lambda: self.g.node("Add", a, b))

    def _once(self, what: Hashable, make: Callable[[], Made]) -> Made:
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]  # type: ignore[no-any-return]


def count(g: Graph, length: Name) -> Name:
    """0, 1, … as int64 (n,), for a length n of shape (1,)."""
    zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
    return g.node("Range", zero, g.node("Squeeze", length), one)  # Range wants scalars
