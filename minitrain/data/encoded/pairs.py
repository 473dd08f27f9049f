"""Records with two texts as the samples of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConfigError
from ..loading.batches import Loader
from ..records.base import Records
from ..records.broken import BrokenItems
from ..samples.bucketing import BucketLoader
from ..samples.collate import Pair, pair_collate
from ..text.bpe import BOS, EOS, PAD
from ..text.tokenizers import Tokenizer
from .overlong import TextEncoder, texts_in
from .text_samples import TextSamples


class TextPairs(TextSamples):
    """Pairs of texts for `Seq2Seq`, encoded when they are asked for; batches are `Pair`s of padded arrays.

    A target may be a list of texts, such as several translations: the first one is the target, and an evaluation reads
    all of them from ``records``.

    Attributes:
        source: encodes the source.
        target: encodes the target.
        pad_id: id of padding.
        bos_id: start token, the decoder's first input.
        eos_id: end token, the decoder's last target.

    Examples:
        >>> from minitrain.data import MemoryRecords, train_joint_bpe_tokenizer
        >>> records = MemoryRecords([{"source": "a dog", "target": "ein Hund"}, {"source": "cats", "target": "Katzen"}])
        >>> tokenizer = train_joint_bpe_tokenizer(["a dog cats"], ["ein Hund Katzen"], vocab_size=270)
        >>> pairs = TextPairs(records, tokenizer)
        >>> next(pairs.batches(2)).target.shape, pairs.lengths.tolist()
        ((2, 10), [[5, 8], [3, 5]])
    """

    def __init__(
        self,
        records: Records,
        tokenizer: Tokenizer,
        target_tokenizer: Tokenizer | None = None,
        *,
        source: str = "source",
        target: str = "target",
        max_source: int | None = None,
        max_target: int | None = None,
        overlong: str = "truncate",
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Encode all pairs once, to know their lengths.

        Args:
            records: have a source and a target.
            tokenizer: of the source; has the special tokens of padding, beginning and end.
            target_tokenizer: of the target, with the same special ids; ``None`` for that of the source.
            source: the column of the source.
            target: the column of the target.
            max_source: largest number of tokens of a source; ``None`` for any.
            max_target: the same for targets, without start and end token.
            overlong: ``"truncate"``, ``"skip"`` or ``"refuse"`` for longer texts.
            broken: ``"refuse"`` or ``"skip"`` for records without a text, or with one that cannot be encoded.
            max_broken: with ``"skip"``, the largest share of broken records.

        Raises:
            ConfigError: if a setting is not one, or the tokenizers' special tokens differ.
            DataError: if a pair is refused, too many are broken, or none is left.
        """
        self.broken = BrokenItems(broken, max_broken)
        self.source = TextEncoder(source, tokenizer, max_source, overlong)
        self.target = TextEncoder(target, target_tokenizer or tokenizer, max_target, overlong)
        self.pad_id, self.bos_id, self.eos_id = (special_id(self.target.tokenizer, name) for name in (PAD, BOS, EOS))
        if self.pad_id != special_id(tokenizer, PAD):
            raise ConfigError("the tokenizers of source and target have different ids for padding: use one for both")
        self.scan(records, [self.source, self.target])

    def __getitem__(self, index: int) -> Pair:
        """Pair ``index``: int32 ids, without start and end token."""
        record = self.records[int(self.rows[self._checked(index)])]
        target = texts_in(record[self.target.column])[0]
        return Pair(self.source.encode(record[self.source.column]), self.target.encode(target))

    def collate(self, samples: Sequence[Pair]) -> Pair:
        """Pad ``samples`` and add start and end tokens; see `pair_collate`."""
        return pair_collate(samples, pad_id=self.pad_id, bos_id=self.bos_id, eos_id=self.eos_id)

    def bucket_loader(self, max_tokens: int, *, seed: int = 0, buckets: int = 8) -> Loader:
        """Batches of similar lengths with at most ``max_tokens`` tokens of both sides together; see `BucketLoader`.

        Raises:
            ConfigError: if a number is below 1.
            DataError: if a pair alone has more tokens.
        """
        lengths = self.lengths + np.array([0, 1])  # the decoder's input is the start token and the target
        return BucketLoader(self, lengths, max_tokens=max_tokens, seed=seed, buckets=buckets, collate=self.collate)


def special_id(tokenizer: Tokenizer, name: str) -> int:
    """The id of a special token.

    Raises:
        ConfigError: if the tokenizer has no special tokens at all.
        DataError: if it lacks this one.
    """
    if not hasattr(tokenizer, "special_id"):
        raise ConfigError(
            f"a {type(tokenizer).__name__} has no special tokens, and {name} is needed: use SymbolTokenizer for "
            "characters or words, or a BPETokenizer"
        )
    found: int = tokenizer.special_id(name)
    return found
