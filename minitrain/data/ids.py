"""Checks of texts and token ids for tokenizers, data sets and loaders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import check_plain
from ..errors import DataError, TokenError

INT32 = np.iinfo(np.int32)


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
        TokenError: if they are not integers, or one is outside the vocabulary; the message names the first.
    """
    check_plain("the token ids", ids)
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


def as_int32(ids: Any, what: str = "token ids") -> NDArray[np.int32]:
    """Token ids as int32, for a batch. Types that may hold larger numbers are checked.

    Args:
        ids: an integer array of any shape, or a sequence of integers. int32 itself is not copied.
        what: their name in the message.

    Raises:
        TokenError: if they are not integers, or one does not fit into 32 bits; the message names the first.
    """
    array = np.asarray(ids)
    if array.dtype == np.int32:
        return array
    if array.size == 0 and array.dtype.kind in "iuf":  # an empty list is float64
        return array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise TokenError(f"{what} must be integers below 2**31, got {array.dtype} of shape {array.shape}")
    if not np.can_cast(array.dtype, np.int32):
        outside = (array < INT32.min) | (array > INT32.max) if array.dtype.kind == "i" else array > INT32.max
        if outside.any():
            place = np.unravel_index(int(np.argmax(outside)), array.shape)
            at = ", ".join(map(str, place)) or "0"
            raise TokenError(
                f"{what}: {array[place]} at position {at} does not fit into 32 bits, the size of token ids; the ids "
                "are damaged, or are not token ids"
            )
    return array.astype(np.int32)
