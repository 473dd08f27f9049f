"""Records with a text and a label as the samples of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..loading.batches import Batch, PaddedBatch
from ..records.base import Records
from ..records.broken import BrokenItems
from ..samples.collate import pad_collate
from ..text.bpe import PAD
from ..text.tokenizers import Tokenizer
from .classes import Classes
from .overlong import TextEncoder
from .pairs import special_id
from .text_samples import TextSamples


class LabelledTexts(TextSamples):
    """Texts and their classes for an `Encoder`; batches are `PaddedBatch`es with one target for each text.

    Attributes:
        classes: the classes.
        targets: ``(N,)`` int32, the class of each sample.
        pad_id: id of padding, which attention does not see; 0 if the tokenizer has none.
    """

    def __init__(
        self,
        records: Records,
        tokenizer: Tokenizer,
        classes: Classes | None = None,
        *,
        text: str = "text",
        label: str = "label",
        max_tokens: int | None = None,
        overlong: str = "truncate",
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Encode all texts once.

        Args:
            records: have a text and a label.
            tokenizer: turns texts into ids.
            classes: those of the training data, for validation data; ``None`` takes those of the records.
            text: the column of the text.
            label: the column of the label.
            max_tokens: largest number of tokens of a text; ``None`` for any.
            overlong: ``"truncate"``, ``"skip"`` or ``"refuse"`` for longer texts.
            broken: ``"refuse"`` or ``"skip"`` for records without a text, or of a class that is not in ``classes``.
            max_broken: with ``"skip"``, the largest share of broken records.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if a record is refused, too many are broken, or none is left.
        """
        self.broken = BrokenItems(broken, max_broken)
        self.classes = Classes.of(records, label) if classes is None else classes
        self.text = TextEncoder(text, tokenizer, max_tokens, overlong)
        self.pad_id = special_id(tokenizer, PAD) if PAD in getattr(tokenizer, "special_tokens", ()) else 0
        rows, numbers = self.classes.numbers_in(records, label, self.broken)
        self.scan(records, [self.text], rows)
        self.targets: NDArray[np.int32] = numbers[self.kept]

    def __getitem__(self, index: int) -> Batch:
        """Text ``index`` as int32 ids, and its class."""
        row = self._checked(index)
        text = self.records[int(self.rows[row])][self.text.column]
        return Batch(self.text.encode(text), self.targets[row])

    def collate(self, samples: Sequence[Batch]) -> PaddedBatch:
        """Pad ``samples``; see `pad_collate`."""
        return pad_collate(samples, pad_id=self.pad_id)
