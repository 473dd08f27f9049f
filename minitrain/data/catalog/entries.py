"""The catalog: all data sets by name."""

from __future__ import annotations

from ...errors import DataError, did_you_mean
from .base import Entry
from .bible import BIBLE, BIBLE_ES
from .cmudict import CMUDICT
from .copying import COPY
from .digits import DIGITS
from .emoji import EMOJI
from .fashion import FASHION
from .shapes import SHAPES, SINGLE_SHAPES

ENTRIES = (CMUDICT, BIBLE, BIBLE_ES, FASHION, EMOJI, DIGITS, COPY, SHAPES, SINGLE_SHAPES)
CATALOG = {entry.name: entry for entry in ENTRIES}
"""Data sets by name."""


def data_set(name: str) -> Entry:
    """The data set called ``name``.

    Raises:
        DataError: if there is none; the message names those there are.
    """
    if name not in CATALOG:
        raise DataError(
            f"there is no data set {name!r}: {did_you_mean(name, CATALOG)}there are {', '.join(CATALOG)}; your own "
            "files are read with read_records and the other readers of minitrain.data"
        )
    return CATALOG[name]
