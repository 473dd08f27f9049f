"""Records with an image and a text as the samples of two encoders, or of a model that writes captions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...random import Key, uniform
from ..images.transforms.base import Transform
from ..records.base import Records
from ..records.broken import BrokenItems
from ..samples.collate import pad_rows
from ..text.bpe import BOS, EOS, PAD
from ..text.tokenizers import Tokenizer
from .classes import check_column
from .image_samples import ImageSamples
from .overlong import TextEncoder, texts_in
from .pairs import special_id
from .text_samples import TextSamples


class ImageTextSample(NamedTuple):
    """An image and its texts.

    Attributes:
        image: uint8 ``(C, H, W)``.
        texts: one or more texts that describe it.
    """

    image: NDArray[np.uint8]
    texts: list[str]


class ImageTexts(NamedTuple):
    """A batch of images and their texts, row by row, as `DualEncoder` reads it.

    Attributes:
        images: ``(B, C, H, W)``.
        texts: ``(B, T)`` int32 token ids, then padding.
        lengths: ``(B,)`` int32, number of tokens in each text.
        groups: ``(B,)`` int64, equal for images whose first text is the same: none of these texts is wrong.
    """

    images: NDArray[Any]
    texts: NDArray[np.int32]
    lengths: NDArray[np.int32]
    groups: NDArray[np.int64]


class ImageTextPairs(TextSamples, ImageSamples):
    """Images and texts for a `DualEncoder`; batches are `ImageTexts`.

    If a record has a list of texts, training takes one of them at random each time, evaluation the first.

    Attributes:
        text: encodes the texts.
        framed: whether a start and an end token are put around each text, for a model that writes captions.
        pad_id: id of padding.
    """

    def __init__(
        self,
        records: Records,
        tokenizer: Tokenizer,
        *,
        transform: Transform,
        text: str = "caption",
        max_tokens: int | None = None,
        overlong: str = "truncate",
        framed: bool = False,
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Encode all texts once.

        Args:
            records: have the columns ``image`` and a text or a list of texts.
            tokenizer: turns texts into ids; has the special tokens of padding, beginning and end.
            transform: makes the images of a batch one array.
            text: the column of the text.
            max_tokens: largest number of tokens of a text, without start and end token; ``None`` for any.
            overlong: ``"truncate"``, ``"skip"`` or ``"refuse"`` for longer texts.
            framed: whether to put a start and an end token around each text.
            broken: ``"refuse"`` or ``"skip"`` for records without a text.
            max_broken: with ``"skip"``, the largest share of them.

        Raises:
            ConfigError: if a setting is not one, or the tokenizer has no special tokens.
            DataError: if a record is refused, too many are broken, or none is left.
        """
        check_column(records, "image")
        self.broken, self.transform, self.framed = BrokenItems(broken, max_broken), transform, framed
        self.text = TextEncoder(text, tokenizer, max_tokens, overlong)
        self.pad_id, bos_id, eos_id = (special_id(tokenizer, name) for name in (PAD, BOS, EOS))
        self._frame = ([bos_id], [eos_id]) if framed else ([], [])
        self.scan(records, [self.text])

    def __getitem__(self, index: int) -> ImageTextSample:
        """Image ``index`` and its texts.

        Raises:
            DataError: if the image is broken.
        """
        record = self.records[int(self.rows[self._checked(index)])]
        return ImageTextSample(record["image"], texts_in(record[self.text.column]))

    def make_batch(self, samples: Sequence[Any], key: Key | None) -> ImageTexts:
        """Transformed images ``(B, C, H, W)`` and one text of each."""
        images = self.transform([sample.image for sample in samples], None if key is None else key.fold("images"))
        chosen = np.zeros(len(samples)) if key is None else uniform(key.fold("texts"), (len(samples), 1))[:, 0]
        begin, end = self._frame
        rows = []
        for sample, number in zip(samples, chosen.tolist(), strict=True):
            ids = self.text.encode(sample.texts[int(number * len(sample.texts))])
            rows.append(np.concatenate([np.array(begin, np.int32), ids, np.array(end, np.int32)]))
        lengths = np.array([row.size for row in rows], dtype=np.int32)
        groups = np.array([_number(sample.texts[0]) for sample in samples], dtype=np.int64)
        return ImageTexts(images, pad_rows(rows, self.pad_id), lengths, groups)


def _number(text: str) -> int:
    """A number that is the same for equal texts, and as good as never for others."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
