"""Makes batches of samples: stacks samples of one size, pads sequences of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import check_plain
from ...errors import DataError
from ..ids import as_int32
from ..loading.batches import IGNORED, PaddedBatch


class Pair(NamedTuple):
    """A source and a target sequence, such as a text and its translation, for `Seq2Seq`.

    Attributes:
        source: ``(S,)`` integers; in a batch ``(B, S)`` int32, then padding.
        target: ``(T,)`` integers, without start and end token; in a batch ``(B, T + 2)`` int32: ``bos_id``, the target,
            ``eos_id``, then padding.
    """

    source: NDArray[Any]
    target: NDArray[Any]


def stack_collate(samples: Sequence[Any]) -> Any:
    """Stack samples of one type and one size.

    Args:
        samples: B named tuples of arrays or numbers, each field ``(...)``.

    Returns:
        A named tuple of the same type, each field ``(B, ...)``.

    Raises:
        DataError: if a field has different shapes; the message names the field and two shapes.
    """
    first = samples[0]
    columns = []
    for name, column in zip(first._fields, zip(*samples, strict=True), strict=True):
        shapes = {np.shape(value): number for number, value in reversed(list(enumerate(column)))}
        if len(shapes) > 1:
            (one, _), (other, number) = sorted(shapes.items(), key=lambda item: item[1])[:2]
            raise DataError(
                f"cannot stack {name}: sample 0 of the batch has shape {one}, sample {number} has {other}; "
                "use pad_collate for sequences of different lengths"
            )
        columns.append(np.stack(column))
    return first._make(columns)


def pad_collate(samples: Sequence[Any], *, pad_id: int = 0) -> PaddedBatch:
    """Pad sequences to the longest.

    Args:
        samples: B pairs ``(inputs, targets)``: inputs ``(n,)`` integers, targets ``(n,)`` integers or one number.
        pad_id: padding of the inputs.

    Returns:
        `PaddedBatch`: inputs (B, T), targets (B, T) with `IGNORED` at padding, or (B,); lengths (B,).

    Raises:
        DataError: if inputs and targets of a sample have different lengths.
    """
    inputs, targets = zip(*samples, strict=True)
    lengths = np.array([len(row) for row in inputs], dtype=np.int32)  # (B,)
    if all(np.ndim(target) == 0 for target in targets):
        return PaddedBatch(pad_rows(inputs, pad_id), np.array(targets), lengths)
    for number, (row, target) in enumerate(zip(inputs, targets, strict=True)):
        if np.shape(row) != np.shape(target):
            raise DataError(
                f"sample {number} of the batch has inputs of shape {np.shape(row)} and targets of {np.shape(target)}: "
                "give one target for each token, or one number for the sequence"
            )
    return PaddedBatch(pad_rows(inputs, pad_id), pad_rows(targets, IGNORED), lengths)


def pair_collate(samples: Sequence[Pair], *, pad_id: int = 0, bos_id: int = 1, eos_id: int = 2) -> Pair:
    """Pad pairs for an encoder and a decoder; the default ids are those of `BPETokenizer`.

    Args:
        samples: B pairs of ids.
        pad_id: padding of both sides.
        bos_id: start token, the decoder's first input.
        eos_id: end token, the decoder's last target.
    """
    sources, targets = zip(*samples, strict=True)
    begin, end = as_int32([bos_id], "bos_id"), as_int32([eos_id], "eos_id")
    whole = [np.concatenate([begin, as_int32(target, f"target {i}"), end]) for i, target in enumerate(targets)]
    return Pair(pad_rows(sources, pad_id), pad_rows(whole, pad_id))


def pad_rows(rows: Sequence[Any], fill: int) -> NDArray[np.int32]:
    """Rows of different lengths as one int32 array ``(B, T)``, padded at the end.

    Raises:
        DataError: if a row is not a one-dimensional sequence of integers.
        TokenError: if a number does not fit into 32 bits.
    """
    padded = np.full((len(rows), max(len(row) for row in rows)), as_int32(fill, "the id of padding"), dtype=np.int32)
    for number, row in enumerate(rows):
        check_plain(f"sample {number} of the batch", row)
        ids = np.asarray(row)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise DataError(
                f"sample {number} of the batch is of {ids.dtype} {ids.shape}: padding is for (n,) integers, "
                "such as the ids of a tokenizer"
            )
        padded[number, : ids.size] = as_int32(ids, f"sample {number} of the batch")
    return padded
