"""A session that keeps keys and values: a new token costs one pass over the weights, however long the text is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...backend.arrays import Array, array_module, to_device
from ...models.common.decoder import Decoder
from ...nn.attention.past import KeyValues
from ...ops.linear.linear import linear_forward
from .session import Tokens, check_cut, check_extension, check_slots


class CachedSession:
    """Keeps the keys and values of each sequence, layer by layer, on any device and in any precision.

    It runs the model's own layers, one sequence at a time. `session_for` finds a faster session where there is one.

    Args:
        model: a decoder; runs without dropout.
        slots: how many sequences there may be at once.
        device: the model's device.
    """

    def __init__(self, model: Decoder, slots: int, *, device: str = "cpu") -> None:
        self.model, self.slots, self.device = model, check_slots(slots), device
        self.longest: int = model.config.block_size
        self._sequences: list[Tokens] = [np.empty(0, np.int32)] * slots
        self._past: list[list[KeyValues]] = [model.new_past() for _ in range(slots)]

    def extend(self, tokens: Mapping[int, Tokens], *, every: bool = False) -> Array:
        """See `Session`."""
        check_extension(self, tokens, self.model.config.vocab_size)
        rows = [self._extend(slot, new, every) for slot, new in tokens.items()]
        return array_module(rows[0]).concatenate(rows)  # type: ignore[no-any-return]  # (M, V)

    def _extend(self, slot: int, new: Tokens, every: bool) -> Array:
        """The logits (n, V) or (1, V) of one sequence."""
        sequence = np.concatenate([self._sequences[slot], new.astype(np.int32)])
        past, hidden = self._past[slot], []
        while (start := past[0].length) < len(sequence):  # keys that a cut has lost are computed again
            part = to_device(sequence[None, start : start + min(kept.room() for kept in past)], self.device)
            (x,), _ = self.model.forward_hidden(part, past=past)  # (1, T, C)
            hidden.append(x)
        self._sequences[slot] = sequence
        x = array_module(hidden[-1]).concatenate(hidden)  # (T, C) with T at least n
        logits, _ = linear_forward(x[-len(new) if every else -1 :], self.model.head.weight.data)
        return logits

    def length(self, slot: int) -> int:
        """See `Session`."""
        return len(self._sequences[slot])

    def cut(self, slot: int, length: int) -> None:
        """See `Session`."""
        check_cut(self, slot, length)
        self._sequences[slot] = self._sequences[slot][:length]
        whole = [kept.cut(length) for kept in self._past[slot]]
        if not all(whole):  # `extend` computes the keys of a window again that are gone
            for kept in self._past[slot]:
                kept.cut(0)

    def copy(self, source: int, target: int) -> None:
        """See `Session`."""
        self._sequences[target] = self._sequences[source]
        for kept, other in zip(self._past[target], self._past[source], strict=True):
            kept.copy_from(other)
