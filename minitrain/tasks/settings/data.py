"""The settings of a run's data: one section for each kind. A text is turned into tokens; shards were made before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...data.text.bpe import LARGEST_VOCABULARY, SMALLEST_VOCABULARY
from ...data.text.tokenizers import TOKENIZERS
from ...data.tokens.masked import SHARE
from ...settings.registry import Registry
from ...settings.section import Section, setting

DATA: Registry[type[Section]] = Registry("data", "minitrain.data_kinds")
"""The sections by the kind of data."""
register_data = DATA.register
"""``@register_data("name")`` before a `DataSection` of your own, for a task of your own."""


class DataSection(Section):
    """The settings that all data share."""

    prefix: ClassVar[str] = "data."
    usual: ClassVar[str] = "text"

    name: str = setting(description="Which kind of data it is.")
    prefetch: int = setting(0, "Batches that a thread prepares ahead; 0 prepares none.", at_least=0)

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the kind of data."""
        return DATA

    def check(self) -> None:
        """Check that the name is that of this section."""
        self.require_own_name()


class TokensConfig(DataSection):
    """The settings that texts and shards share."""

    path: str | None = setting(None, "The text or the shards. null is the language reference that ships with Python.")
    val_fraction: float = setting(
        0.1, "Share of the tokens, taken from the end, that is held out for validation.", above=0, below=1
    )
    block_size: int = setting(64, "Tokens that the model sees at once (T).", at_least=1)
    mask_share: float = setting(
        SHARE, "Share of the tokens that task=masked_language_model hides; other tasks hide none.", above=0, below=1
    )
    unwanted: str | None = setting(
        None, "A list (.jsonl) of prompts with texts that should not follow, and with refusals; see the page on safety."
    )
    unwanted_share: float = setting(
        0.1,
        "Share of the samples that come from this list; 0 counts how often it happens, and trains as ever.",
        at_least=0,
        below=1,
    )
    unwanted_val: str | None = setting(None, "Another such list to count with; null counts with data.unwanted.")


@register_data("text")
class DataConfig(TokensConfig):
    """A text file, or a folder of text files."""

    name: str = setting("text", "Which kind of data it is.")
    tokenizer: str = setting("char", "The tokenizer of the text.", one_of=TOKENIZERS)
    vocab_size: int = setting(
        1024,
        "Largest vocabulary of the bpe tokenizer; char and byte have their own.",
        at_least=SMALLEST_VOCABULARY,
        at_most=LARGEST_VOCABULARY,
    )
    canaries: int = setting(
        0, "Made-up secrets to plant in the training text, for minitrain audit.", at_least=0, at_most=10_000
    )
    canary_repeats: int = setting(1, "How often each of them is planted.", at_least=1, at_most=10_000)


@register_data("shards")
class ShardsConfig(TokensConfig):
    """A folder of token shards, which has its tokenizer in it; see `minitrain.data.build_token_shards`."""

    name: str = setting("shards", "Which kind of data it is.")

    def check(self) -> None:
        """Check that there is a path."""
        super().check()
        self.require(self.path is not None, "path", "the folder of the token shards")
