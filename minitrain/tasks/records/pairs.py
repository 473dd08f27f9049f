"""The processor of a run on pairs of texts: the tokenizers of both sides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...data import Tokenizer, tokenizer_from_json, train_bpe_tokenizer
from ...data.records.base import Records
from ...data.text.bpe import MOST_CONTAINERS, SPECIAL_TOKENS
from ...data.text.symbols import SymbolTokenizer
from ...errors import DataError
from ...files import parse_json
from ...folder import RunFolder
from ...folder.names import PROCESSOR
from ..settings.records import PairsConfig

SEPARATORS = {"char": "", "word": " "}


@dataclass(frozen=True, eq=False)
class PairProcessor:
    """The tokenizers of pairs of texts.

    Attributes:
        source: that of the sources.
        target: that of the targets; the same object if they share one.
        block_size: the longest source, and the longest target with its end.
    """

    source: Any
    target: Any
    block_size: int

    @property
    def shared(self) -> bool:
        """Whether both sides have one vocabulary."""
        return self.source is self.target

    def cut(self, text: str) -> str:
        """As much of a source as the model reads."""
        ids = self.source.encode(text)
        return text if len(ids) <= self.block_size else str(self.source.decode(ids[: self.block_size]))

    def save(self, folder: RunFolder) -> None:
        """Write it into a run folder."""
        sides = {"source": self.source.to_json(), "target": None if self.shared else self.target.to_json()}
        folder.write(PROCESSOR, json.dumps({"block_size": self.block_size, **sides}).encode() + b"\n")

    @classmethod
    def load(cls, folder: RunFolder) -> PairProcessor:
        """Read it from a run folder.

        Raises:
            DataError: if it is damaged.
        """
        try:
            kept = parse_json(folder.read(PROCESSOR), containers=MOST_CONTAINERS)
            source = with_specials(tokenizer_from_json(kept["source"]))
            target = source if kept["target"] is None else with_specials(tokenizer_from_json(kept["target"]))
            return cls(source, target, int(kept["block_size"]))
        except (ValueError, KeyError, TypeError, DataError) as error:
            raise DataError(f"{folder.path / PROCESSOR} is damaged: {error}") from error


def build_processor(data: PairsConfig, train: Records) -> PairProcessor:
    """The tokenizers that settings ask for, made from the training pairs.

    Raises:
        DataError: if there are no texts.
    """
    sources = [row["source"] for row in train]
    targets = [text for row in train for text in ([row["target"]] if isinstance(row["target"], str) else row["target"])]
    if data.target_tokenizer is None:
        both = make_tokenizer(data.tokenizer, [*sources, *targets], data.vocab_size)
        return PairProcessor(both, both, data.block_size)
    source = make_tokenizer(data.tokenizer, sources, data.vocab_size)
    return PairProcessor(source, make_tokenizer(data.target_tokenizer, targets, data.vocab_size), data.block_size)


def make_tokenizer(kind: str, texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of texts: of characters or words that are in them, or of pieces.

    Raises:
        DataError: if there are no texts.
    """
    if kind in SEPARATORS:
        return SymbolTokenizer.from_texts(texts, separator=SEPARATORS[kind])
    return train_bpe_tokenizer(texts, vocab_size=vocab_size)


def with_specials(tokenizer: Any) -> Any:
    """A tokenizer that has the tokens of padding, beginning and end."""
    for name in SPECIAL_TOKENS:
        if not hasattr(tokenizer, "special_id"):
            raise DataError(f"a {type(tokenizer).__name__} has no special tokens")
        tokenizer.special_id(name)
    return tokenizer
