"""The base of data sets of texts: one pass that encodes every record, to find its length and whether it can be used."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..records.base import Records
from ..records.broken import BrokenItems, BrokenRecordError
from ..samples.datasets import SampleDataset
from .classes import check_column
from .overlong import SkippedError, TextEncoder


class TextSamples(SampleDataset):
    """Samples with texts, which are encoded when they are asked for.

    Memory holds 8 bytes for each record, and 4 for the length of each text.

    Attributes:
        records: the records.
        broken: records that were left out because they are broken.
        skipped: number of records that were left out because a text is too long.
        truncated: number of records with a text that is cut.
        lengths: ``(N, k)`` int32, tokens in each of the k texts of a sample, without start and end token.
    """

    records: Records
    broken: BrokenItems
    lengths: NDArray[np.int32]

    def scan(self, records: Records, encoders: Sequence[TextEncoder], rows: NDArray[np.int64] | None = None) -> None:
        """Encode every record once.

        Args:
            records: the records.
            encoders: one for each text of a sample.
            rows: which records to use, by default all of them.

        Raises:
            DataError: if a column is missing, a text is refused, too many records are broken, or none is left.
        """
        for encoder in encoders:
            check_column(records, encoder.column)
        self.records, self.skipped, self.truncated = records, 0, 0
        before = self.broken.count  # left out already, so not among the rows
        rows = np.arange(len(records)) if rows is None else rows
        kept, lengths = array("q"), array("i")
        for place, row in enumerate(rows.tolist()):
            record = records.without_image(row)
            try:
                found = [encoder.check(record[encoder.column], records.place(row)) for encoder in encoders]
            except SkippedError:
                self.skipped += 1
            except BrokenRecordError as error:
                self.broken.add(records.place(row), None, str(error))
            else:
                kept.append(place)
                lengths.extend(length for length, _ in found)
                self.truncated += any(cut for _, cut in found)
        self.broken.check_share(before + len(rows))
        if not kept:
            raise DataError(
                f"no record is left of {len(records)}: {self.skipped} have too many tokens; {self.broken.describe()}"
            )
        self.kept = np.array(kept, dtype=np.int64)
        self.rows = rows[self.kept]
        self.lengths = np.array(lengths, dtype=np.int32).reshape(-1, len(encoders))

    def __len__(self) -> int:
        return self.rows.size
