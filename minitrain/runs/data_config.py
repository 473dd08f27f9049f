"""The settings of a run's data: a text that it makes tokens of, or token shards that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..data.text.bpe import LARGEST_VOCABULARY, SMALLEST_VOCABULARY
from ..data.text.tokenizers import TOKENIZERS
from ..settings.section import Section


@dataclass(frozen=True, kw_only=True)
class TokensConfig(Section):
    """What all data has: tokens in one order, cut into splits and blocks."""

    prefix: ClassVar[str] = "data."
    usual: ClassVar[str] = "text"

    name: str
    path: str | None = None
    val_fraction: float = 0.1
    """the share of the tokens, taken from the end, that is held out for validation"""
    block_size: int = 64
    """tokens the model sees at once (T)"""
    prefetch: int = 0
    """batches that a thread prepares ahead; 0 = none, each is made when it is needed"""

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the kind of data."""
        return {"text": DataConfig, "shards": ShardsConfig}

    def check(self) -> None:
        """Check the ranges."""
        self.require_own_name()
        self.require(0.0 < self.val_fraction < 1.0, "val_fraction", "between 0 and 1, both excluded")
        self.require_at_least(1, "block_size")
        self.require_at_least(0, "prefetch")


@dataclass(frozen=True, kw_only=True)
class DataConfig(TokensConfig):
    """A text file or a folder of them; ``path=None`` is the language reference that ships with Python."""

    name: str = "text"
    tokenizer: str = "char"
    vocab_size: int = 1024
    """ids of a ``bpe`` vocabulary, at most; ``char`` and ``byte`` have their own"""

    def check(self) -> None:
        """Check the ranges."""
        super().check()
        self.require_known("tokenizer", TOKENIZERS)
        fits = SMALLEST_VOCABULARY <= self.vocab_size <= LARGEST_VOCABULARY
        self.require(fits, "vocab_size", f"between {SMALLEST_VOCABULARY} and {LARGEST_VOCABULARY}")


@dataclass(frozen=True, kw_only=True)
class ShardsConfig(TokensConfig):
    """A folder of token shards, which brings its tokenizer with it; see `minitrain.data.build_token_shards`."""

    name: str = "shards"

    def check(self) -> None:
        """Check the ranges, and that there is a folder."""
        super().check()
        self.require(self.path is not None, "path", "the folder of the token shards")
