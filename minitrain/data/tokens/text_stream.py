"""Batches directly from texts, without token files. They can only be read forward.

The state of a `TextStream` is its position in the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...states import Whole
from ..ids import as_int32
from ..loading.batches import Batch, checked_batch_size
from ..text.corpus import PathLike, corpus_files, source_paths, stream_file
from ..text.pieces import PIECE_BYTES
from ..text.roles import check_pieces
from ..text.tokenizers import Tokenizer


class _Piece(NamedTuple):
    """The place of a piece of text."""

    at: int  # index of its first token in the buffer; negative if some are used
    size: int  # tokens
    file: int  # counted on from pass to pass
    byte: int


class TextStream:
    """Windows of tokens, read from text files during training: nothing is prepared, nothing is stored.

    The files are read in order, repeatedly. Their tokens, concatenated, fill batches of B windows of T tokens; the last
    target of a window is the first input of the next. Adjacent windows of the text are in the same batch. Token shards
    with a `TokenLoader` are shuffled, and are the better choice if there is disk space for them.
    """

    def __init__(
        self,
        sources: PathLike | Sequence[PathLike],
        tokenizer: Tokenizer,
        block_size: int,
        batch_size: int,
        *,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        """Find the files.

        Args:
            sources: a text file, a folder of them, or several.
            tokenizer: turns text into ids.
            block_size: T, tokens in a window.
            batch_size: B, windows in a batch.
            piece_bytes: bytes of text read at a time.

        Raises:
            ConfigError: if a size is out of range, or the tokenizer is another model's.
            DataError: if a source is missing or holds no text.
        """
        check_pieces(tokenizer)
        if block_size < 1 or piece_bytes < 8:
            raise ConfigError(f"block_size={block_size} must be at least 1, piece_bytes={piece_bytes} at least 8")
        self.files = [file for path in source_paths(sources) for file in corpus_files(path)]
        self.tokenizer, self.block_size, self.batch_size = tokenizer, block_size, checked_batch_size(batch_size)
        self.piece_bytes = piece_bytes
        self.load_state_dict({"file": 0, "byte": 0, "skip": 0})

    def __iter__(self) -> TextStream:
        return self

    def __next__(self) -> Batch:
        B, T = self.batch_size, self.block_size
        while self._waiting.size < B * T + 1:
            self._read_piece()
        rows = self._waiting[: B * T + 1]
        self._drop(B * T)
        return Batch(rows[:-1].reshape(B, T).copy(), rows[1:].reshape(B, T).copy())

    def state_dict(self) -> dict[str, Any]:
        """The piece with the next token, by file and byte, and how many of its tokens are used."""
        if not self._pieces:
            return dict(self._begin)
        piece = self._pieces[0]
        return {"file": piece.file, "byte": piece.byte, "skip": -piece.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the position in ``state``.

        Raises:
            DataError: if it is not a position of this stream, or the files changed.
        """
        match state:
            case {"file": file, "byte": byte, "skip": skip} if not any(map(Whole().problem, (file, byte, skip))):
                self._begin = {"file": file, "byte": byte, "skip": skip}
            case _:
                raise DataError(
                    f"the position of a text stream is {{'file': 0, 'byte': 0, 'skip': 0}} or later, not {state!r:.80}"
                )
        self._reader = self._read(file, byte)
        self._waiting = np.zeros(0, dtype=np.int32)
        self._pieces: list[_Piece] = []
        if skip:
            self._read_piece()
            piece = self._pieces[0]
            if (piece.file, piece.byte) != (file, byte) or skip > piece.size:
                raise DataError(
                    f"the position {dict(self._begin)} is not one of these files: they changed, or it is of another "
                    "stream; give the files it was saved with, or start over"
                )
            self._drop(skip)

    def _read_piece(self) -> None:
        file, byte, ids = next(self._reader)
        self._pieces.append(_Piece(self._waiting.size, ids.size, file, byte))
        self._waiting = np.concatenate([self._waiting, ids])

    def _drop(self, count: int) -> None:
        """Drop the first ``count`` tokens of the buffer, and the pieces that are used up."""
        self._waiting = self._waiting[count:]
        moved = [piece._replace(at=piece.at - count) for piece in self._pieces]
        self._pieces = [piece for piece in moved if piece.at + piece.size > 0]

    def _read(self, file: int, byte: int) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
        """Number of the file, byte and ids of each piece from a place on, endlessly."""
        for number in itertools.count(file):
            path = self.files[number % len(self.files)]
            start = byte if number == file else 0
            for at, text in stream_file(path, start=start, piece_bytes=self.piece_bytes):
                joint = "\n" if at == 0 and number > 0 else ""
                yield number, at, as_int32(self.tokenizer.encode(joint + text))
