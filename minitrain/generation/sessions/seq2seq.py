"""A session of an encoder-decoder: each sequence is the target of a source, whose keys are computed once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...backend.arrays import Array, array_module, to_device
from ...errors import ShapeError
from ...models.seq2seq import Seq2Seq
from .session import Tokens, check_cut, check_extension, check_slots


class Seq2SeqSession:
    """Keeps the keys and values of targets and of their sources, on any device. Call `begin` before `extend`.

    Args:
        model: an encoder-decoder; runs without dropout.
        slots: how many sequences there may be at once.
        device: the model's device.
    """

    def __init__(self, model: Seq2Seq, slots: int, *, device: str = "cpu") -> None:
        self.model, self.slots, self.device = model, check_slots(slots), device
        self.longest: int = model.config.block_size
        self._lengths = [0] * slots
        self._memory: list[Array | None] = [None] * slots  # (1, S, C) encoded sources
        self._source: list[Array | None] = [None] * slots  # (1, S)
        self._past = [model.new_past() for _ in range(slots)]

    def begin(self, slot: int, source: Tokens) -> None:
        """Begin a sequence: the target of a source.

        Args:
            slot: the slot; the sequence that was there is forgotten.
            source: (S,) token ids, without padding.

        Raises:
            ShapeError: if the source is longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        there = to_device(source[None], self.device)
        memory, _, _ = self.model.encode(there)
        self._lengths[slot] = 0
        self._memory[slot], self._source[slot] = memory, there
        for own, other in self._past[slot]:
            own.cut(0)
            other.cut(0)

    def extend(self, tokens: Mapping[int, Tokens], *, every: bool = False) -> Array:
        """See `Session`."""
        check_extension(self, tokens, self.model.config.n_targets)
        for slot in tokens:
            if self._memory[slot] is None:
                raise ShapeError(f"extend: slot {slot} has no source yet; call begin({slot}, source) first")
        rows = []
        for slot, new in tokens.items():
            target = to_device(new[None].astype(np.int32), self.device)  # (1, T)
            (logits,) = self.model.decode_next(
                target, self._memory[slot], None, self._past[slot], source=self._source[slot]
            )  # (1, T, V)
            self._lengths[slot] += len(new)
            rows.append(logits if every else logits[-1:])
        return array_module(rows[0]).concatenate(rows)  # type: ignore[no-any-return]  # (M, V)

    def length(self, slot: int) -> int:
        """See `Session`: the length of the target."""
        return self._lengths[slot]

    def cut(self, slot: int, length: int) -> None:
        """See `Session`; the source stays."""
        check_cut(self, slot, length)
        self._lengths[slot] = length
        for own, _ in self._past[slot]:
            own.cut(length)

    def copy(self, source: int, target: int) -> None:
        """See `Session`; the target gets the source, too."""
        self._lengths[target], self._memory[target] = self._lengths[source], self._memory[source]
        self._source[target] = self._source[source]
        for kept, others in zip(self._past[target], self._past[source], strict=True):
            for mine, other in zip(kept, others, strict=True):
                mine.copy_from(other)
