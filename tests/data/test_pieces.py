"""Texts in pieces: nothing lost, never too long, and cut where tokenizers do not notice."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, read_corpus, train_bpe_tokenizer
from minitrain.data.text.corpus import corpus_files, stream_file
from minitrain.data.text.pieces import read_pieces
from minitrain.errors import DataError

# Spaces of all kinds, letters of one to four bytes, what GPT-2's pattern looks for, and any other text.
FRAGMENTS = [
    "a",
    "the",
    "'t",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\x1c",
    "é",
    "漢",
    "🙂",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=3)).map("".join)
SIZES = st.integers(8, 40)

BPE = train_bpe_tokenizer(
    ["the cat, the hat 't 't  the\n\n  é漢 é漢 the\u00a0the\u3000 \r\n\r\n \t\t  \n"] * 9, vocab_size=290
)


class Dribble(io.BytesIO):
    """A file that gives three bytes at a time, as a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size or 0))


@given(data=st.binary() | TEXTS.map(str.encode), size=SIZES)
def test_pieces_join_to_the_file_and_are_bounded(data: bytes, size: int) -> None:
    pieces = list(read_pieces(io.BytesIO(data), size))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= size for piece in pieces)
    assert pieces == list(read_pieces(Dribble(data), size))


@given(text=TEXTS, size=SIZES)
def test_reading_can_begin_at_any_border(text: str, size: int) -> None:
    pieces = list(read_pieces(io.BytesIO(text.encode()), size))
    for i in range(len(pieces)):
        assert list(read_pieces(io.BytesIO(b"".join(pieces[i:])), size)) == pieces[i:]


@given(text=TEXTS, size=SIZES)
@example(text="aaaaaa\r\nb", size=8)
def test_no_character_and_no_line_end_is_torn(text: str, size: int) -> None:
    pieces = [piece.decode() for piece in read_pieces(io.BytesIO(text.encode()), size)]
    assert not any(left.endswith("\r") for left in pieces[:-1])
    assert "".join(pieces) == text


@given(text=TEXTS, size=SIZES)
@example(text="aaaaaaaaa\u00a0 the", size=12)
@example(text="aaaaaaaa\n \n the", size=12)
@example(text="the the 't 't the", size=9)
def test_tokens_of_the_pieces_are_the_tokens_of_the_text(text: str, size: int) -> None:
    pieces = [piece.decode() for piece in read_pieces(io.BytesIO(text.encode()), size)]
    for tokenizer in (ByteTokenizer(), CharTokenizer.from_text(text or "a")):
        assert np.concatenate([tokenizer.encode(p) for p in ["", *pieces]]).tolist() == tokenizer.encode(text).tolist()
    # Unless a run of visible characters, or of white space, was longer than a piece:
    if all(right[0] in " \n" and not left[-1].isspace() for left, right in pairwise(pieces)):
        assert np.concatenate([BPE.encode(piece) for piece in ["", *pieces]]).tolist() == BPE.encode(text).tolist()


def test_a_prose_text_is_cut_at_words() -> None:
    text = "It was the best of times,\nit was\n\n\n\n\nthe worst\u00a0 of\u3000 times.\n\nIt was…   \r\n" * 30
    pieces = [piece.decode() for piece in read_pieces(io.BytesIO(text.encode()), 24)]
    assert all(piece[0] in " \n" for piece in pieces[1:])
    assert not any(piece[-1].isspace() for piece in pieces[:-1])  # runs of white space stay whole
    assert np.concatenate([BPE.encode(piece) for piece in pieces]).tolist() == BPE.encode(text).tolist()


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=3), size=SIZES
)
@settings(max_examples=50)
def test_streamed_files_are_the_corpus(tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int) -> None:
    folder = tmp_path_factory.mktemp("texts")
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(text.encode())
    try:
        files = corpus_files(folder)
    except DataError as error:
        assert "holds no text" in str(error)
        return
    streamed = [list(stream_file(file, piece_bytes=size)) for file in files]
    assert "\n".join("".join(text for _, text in pieces) for pieces in streamed) == read_corpus(folder)
    for file, pieces in zip(files, streamed, strict=True):
        for i, (start, _) in enumerate(pieces):
            assert list(stream_file(file, start=start, piece_bytes=size)) == pieces[i:]


def test_an_error_far_inside_gives_the_offset_in_the_file(tmp_path: Path) -> None:
    for data, says in ((b"ab cd " * 20 + b"\xff", "byte 0xff at offset 120"), (b"ab cd " * 20 + b"\0", "offset 120")):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(DataError, match=says):
            list(stream_file(tmp_path / "f", piece_bytes=8))


SPACES = [chr(code) for code in range(0x10000) if chr(code).isspace()]


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_no_cut_inside_white_space_of_any_kind(space: str) -> None:
    data = f"abcdef gh{space} i".encode()
    first = next(read_pieces(io.BytesIO(data), len(data)))
    assert first == (b"abcdef gh" if space in " \n" else b"abcdef")  # before the run of white space, never in it
