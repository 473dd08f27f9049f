"""What tokenizers share: bytes of a text, and ids that are within the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, TokenError


def utf8(text: str) -> bytes:
    """``text`` in UTF-8.

    Raises:
        DataError: if it holds half of a surrogate pair, which UTF-8 cannot express.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text holds a lone surrogate, {text[error.start]!r}, at position {error.start}, "
            "which UTF-8 cannot express: it was not decoded as UTF-8"
        ) from error


def checked_ids(ids: Sequence[int] | NDArray[Any], vocab_size: int) -> NDArray[Any]:
    """``ids`` as an integer array ``(N,)``.

    Raises:
        TokenError: if they are not integers, or one is outside the vocabulary; the first such is named.
    """
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, dtype=np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TokenError(f"token ids must be a one-dimensional sequence of integers, not {array.dtype} {array.shape}")
    outside = (array < 0) | (array >= vocab_size)
    if outside.any():
        position = int(np.argmax(outside))
        raise TokenError(
            f"token id {array[position]} at position {position} is outside the vocabulary "
            f"of {vocab_size} ids: the ids come from another tokenizer"
        )
    return array
