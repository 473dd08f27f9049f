"""The base of tasks on a text as tokens: its tokenizer, its files in a run's folder, and the loss of guessing."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ...data import Tokenizer
from ...folder import RunFolder
from ...formats import one_line
from ..settings.data import DataSection, TokensConfig
from ..task import Prepared, Task, TaskSettings
from .tokens import (
    TokenSplit,
    check_data,
    load_tokenizer,
    load_tokens,
    prepare_tokens,
    save_tokens,
    tokens_of_text,
)
from .validation import baselines


class TokenTask(Task):
    """Trains on the tokens of a text. Its processor is a tokenizer, its data a `TokenSplit`."""

    data_kinds: ClassVar[tuple[str, ...]] = ("text", "shards")

    def check_data(self, data: DataSection) -> None:
        """Check that the text or the shards are there."""
        assert isinstance(data, TokensConfig)
        check_data(data)

    def prepare(self, config: TaskSettings, processor: Tokenizer | None = None) -> Prepared:
        """The text as tokens."""
        return Prepared(*prepare_tokens(config, processor))

    def save(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> TokensConfig:
        """Keep tokenizer and tokens; of shards, which may be large, the manifest."""
        return save_tokens(prepared.processor, prepared.data, config.data, folder)

    def load_processor(self, folder: RunFolder) -> Tokenizer:
        """The tokenizer."""
        return load_tokenizer(folder)

    def load(self, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The tokenizer and the tokens."""
        return Prepared(*load_tokens(config.data, folder))

    def after_saving(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The tokens in their files, which are mapped into memory."""
        return self.load(config, folder)

    def held_out(self, config: TaskSettings, processor: Tokenizer, path: str | Path) -> Prepared:
        """Another text, a file or a folder; guesses are by its own frequencies."""
        tokens = tokens_of_text(path, processor)
        return Prepared(processor, TokenSplit(tokens, tokens))

    def guesses(self, prepared: Prepared) -> dict[str, float]:
        """Nats per token of guessing."""
        return baselines(prepared.data.train, prepared.data.val, prepared.processor.vocab_size)

    def describe(self, config: TaskSettings, prepared: Prepared) -> str:
        """How many tokens of what."""
        source = one_line(config.data.path or "Python's own language reference")
        return (
            f"{prepared.data.train.size:,} training and {prepared.data.val.size:,} validation tokens of {source} "
            f"({prepared.processor.vocab_size} different)"
        )
