"""Sequences to copy: the smallest task that an encoder-decoder cannot learn without cross-attention."""

from __future__ import annotations

from typing import Any

from ...random import Key, random_bits
from ..records.memory import GeneratedRecords
from .base import Entry, Files, Prepared

LETTERS = "abcdefghijklmnop"
LONGEST = 12


def load_copy(files: Files) -> Prepared:
    """Random letters in ``source``, 1 to 12 of 16, and the same in ``target``."""
    sizes = {"train": 4096, "validation": 256, "test": 256}
    return Prepared(*(GeneratedRecords(f"copy {name}", size, letters) for name, size in sizes.items()))


def letters(key: Key, index: int) -> dict[str, Any]:
    """A record of random letters."""
    length, *numbers = random_bits(key, (1, 1 + LONGEST))[0].tolist()
    text = "".join(LETTERS[number % len(LETTERS)] for number in numbers[: 1 + length % LONGEST])
    return {"source": text, "target": text}


COPY = Entry(
    name="copy",
    title="generated: random letters to copy",
    licence="none needed: generated",
    get="",
    load=load_copy,
)
