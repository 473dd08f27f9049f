"""Sequences that grow: what every decoding method needs of a model.

A session holds the sequences that are being generated, each in a numbered *slot*. A decoding method adds tokens, gets
the logits of the next one, and may cut a sequence, copy it to another slot or release it. How the model is run is the
session's affair: `UncachedSession` runs the whole sequence again, and works with any model; other sessions keep keys
and values. In float32 on the CPU all of them return the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ...backend.arrays import Array, array_module, to_device
from ...errors import ConfigError, ShapeError, TokenError
from ...random import Key

Tokens = np.ndarray[Any, np.dtype[np.int32]]
"""(n,) int32 token ids on the CPU."""


class LanguageModel(Protocol):
    """The interface that generation needs of a model: ``config.block_size`` and a forward."""

    config: Any

    def forward(self, tokens: Array, *, key: Key | None = None) -> tuple[Array, Any]:
        """Logits ``(B, T, V)`` of tokens ``(B, T)``, and a cache."""
        ...


class Session(Protocol):
    """Sequences in slots, and the logits of what comes next in them.

    Attributes:
        slots: how many sequences there may be at once; their numbers are 0, 1, ….
        longest: the greatest length of a sequence, the model's ``block_size``.
    """

    slots: int
    longest: int

    def extend(self, tokens: Mapping[int, Tokens], *, every: bool = False) -> Array:
        """Add tokens to sequences, and predict.

        Args:
            tokens: the new tokens (n,) of each slot, at least one each. A slot without a sequence begins one.
            every: whether to predict after each new token, and not only after the last one of each slot.

        Returns:
            ``(M, V)`` logits on the model's device, in the order of ``tokens``: one row for each slot, or for each new
            token. The caller may write to them.

        Raises:
            ShapeError: if a slot does not exist, gets no token, or would outgrow ``longest``. Nothing is added then.
            TokenError: from the model, if a token is outside its vocabulary. Nothing is added then.
        """
        ...

    def length(self, slot: int) -> int:
        """The number of tokens of a sequence; 0 in a free slot."""
        ...

    def cut(self, slot: int, length: int) -> None:
        """Forget all tokens of a sequence from ``length`` on; 0 frees the slot.

        Raises:
            ShapeError: if the sequence is shorter than that.
        """
        ...

    def copy(self, source: int, target: int) -> None:
        """Make the sequence of slot ``target`` equal to that of slot ``source``."""
        ...


class UncachedSession:
    """Runs the model on whole sequences, one at a time: slow, simple, and right for any model.

    Args:
        model: the model; runs without dropout.
        slots: how many sequences there may be at once.
        device: the model's device.
    """

    def __init__(self, model: LanguageModel, slots: int, *, device: str = "cpu") -> None:
        self.model, self.slots, self.device = model, check_slots(slots), device
        self.longest: int = model.config.block_size
        self._sequences: list[Tokens] = [np.empty(0, np.int32)] * slots

    def extend(self, tokens: Mapping[int, Tokens], *, every: bool = False) -> Array:
        """See `Session`."""
        check_extension(self, tokens)
        longer = {slot: np.concatenate([self._sequences[slot], new]) for slot, new in tokens.items()}
        rows = []
        for slot, sequence in longer.items():
            (logits,), _ = self.model.forward(to_device(sequence[None], self.device))  # (1, T, V)
            rows.append(logits[-len(tokens[slot]) if every else -1 :])  # (n or 1, V)
        for slot, sequence in longer.items():
            self._sequences[slot] = sequence
        return array_module(rows[0]).concatenate(rows)  # type: ignore[no-any-return]  # (M, V)

    def length(self, slot: int) -> int:
        """See `Session`."""
        return len(self._sequences[slot])

    def cut(self, slot: int, length: int) -> None:
        """See `Session`."""
        check_cut(self, slot, length)
        self._sequences[slot] = self._sequences[slot][:length]

    def copy(self, source: int, target: int) -> None:
        """See `Session`."""
        self._sequences[target] = self._sequences[source]


def check_slots(slots: int) -> int:
    """The number of slots.

    Raises:
        ConfigError: if there are none.
    """
    if slots < 1:
        raise ConfigError(f"slots = {slots} must be 1 or more: each sequence that is generated needs one")
    return slots


def check_extension(session: Session, tokens: Mapping[int, Tokens], vocabulary: int | None = None) -> None:
    """Raise a ``ShapeError`` or a ``TokenError`` unless the session can take these tokens."""
    if not tokens:
        raise ShapeError("extend: there is no sequence to extend")
    for slot, new in tokens.items():
        if not 0 <= slot < session.slots:
            raise ShapeError(f"extend: there is no slot {slot}; slots run from 0 to {session.slots - 1}")
        if new.ndim != 1 or new.size == 0 or new.dtype.kind not in "iu":
            raise ShapeError(f"extend: slot {slot} gets {new.dtype} {new.shape}, expected (n,) integers, at least one")
        if session.length(slot) + new.size > session.longest:
            raise ShapeError(
                f"extend: slot {slot} has {session.length(slot)} tokens and would get {new.size} more, but the model's "
                f"block_size is {session.longest}"
            )
        if vocabulary is not None and (int(new.min()) < 0 or int(new.max()) >= vocabulary):
            wrong = int(new.min()) if int(new.min()) < 0 else int(new.max())
            raise TokenError(f"extend: token {wrong} of slot {slot} is not in the vocabulary of {vocabulary} tokens")


def check_cut(session: Session, slot: int, length: int) -> None:
    """Raise a ``ShapeError`` unless the sequence has at least ``length`` tokens."""
    if not 0 <= length <= session.length(slot):
        raise ShapeError(f"cut: slot {slot} has {session.length(slot)} tokens, which cannot be cut to {length}")
