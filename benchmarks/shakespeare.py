"""Tiny Shakespeare for programs that are compared: the ids of its characters, its split, its windows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minitrain.benchmark.tokens import Batch, Tokens

LENGTH = 64  # characters in a window of the validation text, whatever a program trains on


class Split(NamedTuple):
    """Ids of the characters, int64, counted in the order of their code points.

    Attributes:
        train: ``(N,)`` the first nine tenths of the text.
        held_out: ``(M,)`` the rest.
        vocab_size: number V of different characters.
    """

    train: Tokens
    held_out: Tokens
    vocab_size: int


def read_split(text: Path) -> Split:
    """The split of a text file, made from the text alone."""
    characters = text.read_text(encoding="utf-8")
    ids = {character: i for i, character in enumerate(sorted(set(characters)))}
    tokens = np.array([ids[character] for character in characters], np.int64)
    border = int(len(tokens) * 0.9)
    return Split(tokens[:border], tokens[border:], len(ids))


def windows(tokens: Any, length: int = LENGTH, batch: int = 256) -> Iterator[Batch]:
    """Inputs and targets in windows side by side, ``(batch, length)`` at most; the rest comes last, on its own."""
    whole = (len(tokens) - 1) // length * length
    inputs, targets = (tokens[start : start + whole].reshape(-1, length) for start in (0, 1))
    for first in range(0, len(inputs), batch):
        yield Batch(inputs[first : first + batch], targets[first : first + batch])
    if whole < len(tokens) - 1:
        yield Batch(tokens[None, whole:-1], tokens[None, whole + 1 :])
