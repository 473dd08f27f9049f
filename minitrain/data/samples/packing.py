"""Documents packed into windows of one size, with no prediction across a border.

- ``join``: all documents are concatenated and cut every T tokens. Only the last window has padding.
- ``first_fit``: a document goes into the first window with room for it; only documents longer than a window are cut.
  Short documents stay whole, at the cost of some padding (Johnson, "Near-Optimal Bin Packing Algorithms", 1973).

Either way every token is an input exactly once, and a target exactly once unless it is the first of its document.
``documents`` numbers the documents of a window: ``minitrain.nn.create_document_mask`` turns it into the mask that keeps
attention within each document.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ..ids import as_int32
from ..loading.batches import IGNORED
from ..tokens.token_array import TokenArray
from .datasets import SampleDataset

OPEN_WINDOWS = 256  # windows in which first fit looks for room; beyond that, the oldest is closed
CHUNK = 1 << 22  # tokens searched for ends at a time
METHODS = ("join", "first_fit")


class PackedBatch(NamedTuple):
    """Windows of packed documents; a sample is one row.

    Attributes:
        inputs: ``(B, T)`` int32 token ids; padding at the end.
        targets: ``(B, T)`` int32, the next token of the same document; `IGNORED` at its end and at padding.
        positions: ``(B, T)`` int32, 0, 1, 2, … in each document, or in the window.
        documents: ``(B, T)`` int32, number of the document within the window; -1 at padding.
    """

    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]
    positions: NDArray[np.int32]
    documents: NDArray[np.int32]


class _Pieces(NamedTuple):
    """Pieces of documents in the order of their windows, each within one window."""

    starts: NDArray[np.int64]  # (P,) where in the tokens
    lengths: NDArray[np.int64]  # (P,)
    windows: NDArray[np.int64]  # (P,) ascending


class PackedDataset(SampleDataset):
    """Windows of packed documents; samples are rows of a `PackedBatch`.

    Attributes:
        tokens: ``(N,)`` ids of all documents, concatenated.
        offsets: ``(D + 1,)`` int64: document d is ``tokens[offsets[d]:offsets[d + 1]]``.
        block_size: T.
        pad_id: padding of the windows.
        reset_positions: whether positions restart with each document.
    """

    def __init__(
        self,
        tokens: TokenArray,
        offsets: NDArray[np.int64],
        block_size: int,
        *,
        method: str = "join",
        pad_id: int = 0,
        reset_positions: bool = True,
    ) -> None:
        """Assign documents to windows. The tokens are read when a window is requested.

        Args:
            tokens: ids, such as those of `TokenShards`.
            offsets: borders of the documents, from 0 to N, see `document_offsets`.
            block_size: T, tokens in a window.
            method: ``"join"`` or ``"first_fit"``.
            pad_id: padding of the windows.
            reset_positions: whether positions restart with each document; ``False`` counts them through the window.

        Raises:
            ConfigError: if ``block_size`` is below 1, or there is no such method.
            DataError: if the offsets are not the ascending borders of all tokens.
        """
        if block_size < 1:
            raise ConfigError(f"block_size must be at least 1, not {block_size}")
        if method not in METHODS:
            raise ConfigError(f"there is no packing method {method!r}: choose one of {', '.join(METHODS)}")
        offsets = np.asarray(offsets, dtype=np.int64)
        ends = offsets[[0, -1]].tolist() if offsets.ndim == 1 and offsets.size > 1 else None
        if ends != [0, tokens.size] or np.any(offsets[1:] <= offsets[:-1]):
            raise DataError(
                f"the offsets of documents must ascend from 0 to the number of tokens, {tokens.size}, with no document "
                "empty: take those of document_offsets(tokens, end_id)"
            )
        self.tokens, self.offsets, self.block_size = tokens, offsets, block_size
        self.pad_id, self.reset_positions = int(as_int32(pad_id, "pad_id")), reset_positions
        self._pieces = _join(offsets, block_size) if method == "join" else _first_fit(offsets, block_size)
        count = int(self._pieces.windows[-1]) + 1
        self._first = np.searchsorted(self._pieces.windows, np.arange(count + 1))  # (windows + 1,)

    def __len__(self) -> int:
        return self._first.size - 1

    def __getitem__(self, index: int) -> PackedBatch:
        """Window ``index``, each field ``(T,)``.

        Raises:
            TokenError: if a token id does not fit into 32 bits.
        """
        window = self._checked(index)
        T = self.block_size
        inputs, targets = np.full(T, self.pad_id, dtype=np.int32), np.full(T, IGNORED, dtype=np.int32)
        positions, documents = np.arange(T, dtype=np.int32), np.full(T, -1, dtype=np.int32)
        at = 0
        pieces = range(self._first[window], self._first[window + 1])
        for number, piece in enumerate(pieces):
            start, length = int(self._pieces.starts[piece]), int(self._pieces.lengths[piece])
            end = int(self.offsets[np.searchsorted(self.offsets, start, side="right")])  # of the document
            ids = as_int32(self.tokens[start : min(start + length + 1, end)])  # with the token that follows, if any
            inputs[at : at + length] = ids[:length]
            targets[at : at + ids.size - 1] = ids[1:]
            documents[at : at + length] = number
            if self.reset_positions:
                positions[at : at + length] = np.arange(length)
            at += length
        return PackedBatch(inputs, targets, positions, documents)


def document_offsets(tokens: TokenArray, end_id: int) -> NDArray[np.int64]:
    """The borders of the documents in ``tokens``; each document includes its ``end_id``.

    Args:
        tokens: ``(N,)`` ids, N >= 1.
        end_id: the id at the end of every document; the last may lack it.

    Returns:
        int64 ``(D + 1,)``, from 0 to N.
    """
    borders = [np.zeros(1, dtype=np.int64)]
    for start in range(0, tokens.size, CHUNK):
        borders.append(np.flatnonzero(tokens[start : start + CHUNK] == end_id) + start + 1)
    if borders[-1].size == 0 or borders[-1][-1] != tokens.size:
        borders.append(np.array([tokens.size]))
    return np.concatenate(borders)


def _join(offsets: NDArray[np.int64], block_size: int) -> _Pieces:
    starts = np.union1d(offsets[:-1], np.arange(0, offsets[-1], block_size))
    return _Pieces(starts, np.diff(starts, append=offsets[-1]), starts // block_size)


def _first_fit(offsets: NDArray[np.int64], block_size: int) -> _Pieces:
    starts = np.concatenate([np.arange(a, b, block_size) for a, b in pairwise(offsets)])
    lengths = np.diff(starts, append=offsets[-1])
    windows = np.empty_like(starts)
    room = np.zeros(0, dtype=np.int64)  # of the open windows, the oldest first
    opened = 0
    for piece, length in enumerate(lengths.tolist()):
        fits = room >= length
        place = int(fits.argmax()) if fits.any() else room.size
        if place == room.size:
            room = np.append(room, block_size)[-OPEN_WINDOWS:]
            place, opened = room.size - 1, opened + 1
        room[place] -= length
        windows[piece] = opened - room.size + place
    order = np.argsort(windows, kind="stable")
    return _Pieces(starts[order], lengths[order], windows[order])
