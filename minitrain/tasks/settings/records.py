"""The settings of data that comes in records: which files, which columns, what is held out."""

from __future__ import annotations

from ...settings.section import setting
from .data import DataSection, register_data

BUCKETS = "With max_tokens, groups of similar lengths, one for each batch: more of them, less padding and less mixing."


class RecordsConfig(DataSection):
    """The settings that all data in records share."""

    path: str | None = setting(None, "The data: a file or a folder; for a data set, the folder with its files.")
    dataset: str | None = setting(None, "A data set that minitrain knows by name, see `minitrain data`.")
    verify: bool = setting(True, "Whether the files of a data set must be those that its figures were measured on.")
    val_path: str | None = setting(None, "Data to validate on; null holds out a part.")
    val_fraction: float = setting(0.1, "Share of the records, drawn at random, that is held out.", above=0, below=1)
    broken: str = setting("refuse", "What to do with a record that cannot be used.", one_of=("refuse", "skip"))
    max_broken: float = setting(0.01, "With broken=skip, the largest share of such records.", at_least=0, at_most=1)

    def check(self) -> None:
        """Check that one place is given."""
        super().check()
        self.require(self.path is not None or self.dataset is not None, "path", "given, unless data.dataset is")
        self.require(
            self.dataset is None or self.val_path is None, "val_path", "null with data.dataset, which holds some out"
        )


@register_data("pairs")
class PairsConfig(RecordsConfig):
    """Pairs of texts: a table with two columns, or two text files with equally many lines."""

    name: str = setting("pairs", "Which kind of data it is.")
    target_path: str | None = setting(
        None, "The file with the targets, line by line; null if path is a table (.tsv, .csv, .jsonl, .parquet)."
    )
    val_target_path: str | None = setting(None, "The targets of val_path, likewise.")
    source: str = setting("source", "The column of the sources.")
    target: str = setting("target", "The column of the targets: texts, or lists of texts that are all right.")
    tokenizer: str = setting(
        "bpe",
        "The tokens of texts: pieces of words, characters, or words.",
        one_of=("bpe", "char", "word"),
    )
    target_tokenizer: str | None = setting(
        None, "The same for targets, with a vocabulary of their own; null shares that of the sources."
    )
    vocab_size: int = setting(4096, "Largest vocabulary of a bpe tokenizer.", at_least=260, at_most=1_000_000)
    block_size: int = setting(64, "Longest source, and longest target with its end, in tokens.", at_least=2)
    overlong: str = setting(
        "refuse", "What to do with a pair that is longer in training.", one_of=("refuse", "skip", "truncate")
    )
    max_tokens: int | None = setting(
        None,
        "Tokens, padding included, in a batch of pairs of similar lengths; null takes trainer.batch_size pairs.",
        at_least=1,
    )
    buckets: int = setting(8, BUCKETS, at_least=1)

    def check(self) -> None:
        """Check what belongs together."""
        super().check()
        self.require(
            self.target_tokenizer in (None, "bpe", "char", "word"), "target_tokenizer", "null, bpe, char or word"
        )
        self.require((self.target_path is None) or self.path is not None, "target_path", "null without a path")
        both = (self.val_path is None) == (self.val_target_path is None) or self.target_path is None
        self.require(both, "val_target_path", "given with val_path")
