"""Byte-pair encoding on bytes: frequent pieces of words get ids of their own, and any text can be encoded.

The text is split into words by the pattern of GPT-2, and each word into its UTF-8 bytes. Then the adjacent pair that
comes first in a list of *merges* is joined, repeatedly (Sennrich, Haddow, Birch, 2016, arXiv:1508.07909; on bytes:
Radford et al., "Language Models are Unsupervised Multitask Learners", 2019). The ``tokenizers`` library learns the
merges and applies them.

Ids are the special tokens from 0 on, the 256 bytes, and one for each new piece in the order of the merges. So only the
list of merges has to be saved. Special tokens are not in the library's vocabulary: no text encodes to one.
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...files import FileError, file_error, make_folder, parse_json, read_file, write_atomically
from ..ids import checked_ids, utf8
from .byte_letters import byte_letters as byte_letters
from .pieces import read_pieces

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIAL_TOKENS = (PAD, BOS, EOS, UNK)
"""Padding 0, start 1 and end 2 of a sequence, unknown 3. Bytes cover every text, so nothing becomes unknown."""
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256
LARGEST_FILE = 64_000_000  # bytes of a description
MOST_CONTAINERS = 4 << 20  # lists in a description: one for each merge, and brackets among its letters
LARGEST_VOCABULARY = 1 << 20  # the library reserves memory for all of it at once
FILE_NAME = "tokenizer.json"

_PIECE = 1 << 16  # bytes encoded at a time: the library uses over a hundred bytes per token meanwhile
_PARALLEL = 16  # pieces that it may encode in parallel


class BPETokenizer:
    """Byte-level BPE.

    Attributes:
        merges: pairs of pieces to join, in order of priority, in the letters of `byte_letters`.
        special_tokens: names of the ids that encode no text; the id of a name is its index.

    Examples:
        >>> tokenizer = BPETokenizer([("t", "h"), ("th", "e")])
        >>> tokenizer.vocab_size, len(tokenizer.encode("the other")), tokenizer.decode(tokenizer.encode("the"))
        (262, 5, 'the')
    """

    def __init__(self, merges: Iterable[Sequence[str]], special_tokens: Sequence[str] = SPECIAL_TOKENS) -> None:
        """Assign ids to the pieces.

        Args:
            merges: the pairs; both halves are letters of bytes or were joined by an earlier pair.
            special_tokens: different names.

        Raises:
            DataError: if the merges do not have that form, or a name is empty or appears twice.
        """
        self.special_tokens = _names(special_tokens)
        pieces = {letter: index for index, letter in enumerate(sorted(byte_letters()))}
        self.merges: list[tuple[str, str]] = []
        for number, pair in enumerate(merges):
            match pair:
                case [str(left), str(right)] if left in pieces and right in pieces:
                    self.merges.append((left, right))
                    pieces.setdefault(left + right, len(pieces))
                case _:
                    raise DataError(
                        f"entry {number} of the merges is {_short(pair)}, where two pieces are expected, each a byte "
                        "or joined by an earlier entry: it is damaged or of another kind; train the tokenizer anew"
                    )
        bytes_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        self._texts = [b""] * len(self.special_tokens)  # by id
        self._texts += [bytes(bytes_of[letter] for letter in piece) for piece in pieces]
        self._encoder = _encoder(pieces, self.merges)

    @property
    def vocab_size(self) -> int:
        """Number of ids, including special ones."""
        return len(self._texts)

    def special_id(self, name: str) -> int:
        """The id of the special token ``name``.

        Raises:
            DataError: if there is none with that name.
        """
        if name not in self.special_tokens:
            raise DataError(
                f"this tokenizer has no special token {name!r}, it has {', '.join(self.special_tokens) or 'none'}: "
                "name another one, or train it with special_tokens=(…)"
            )
        return self.special_tokens.index(name)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Token ids of ``text``, int32 ``(N,)``; none of them is special.

        Raises:
            DataError: if ``text`` holds half of a surrogate pair, which UTF-8 cannot express.
        """
        shift = len(self.special_tokens)
        parts = [np.zeros(0, dtype=np.int32)]
        for pieces in _batched(_texts_of(text), _PARALLEL):
            for encoding in self._encoder.encode_batch_fast(pieces):
                parts.append(np.array(encoding.ids, dtype=np.int32) + np.int32(shift))
        return np.concatenate(parts)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of ``ids``. Special tokens have no text, and bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenError: if an id is outside the vocabulary.
        """
        texts = self._texts
        return b"".join([texts[i] for i in checked_ids(ids, self.vocab_size).tolist()]).decode("utf-8", "replace")

    def token_bytes(self) -> list[bytes]:
        """The bytes of each id; none for a special token."""
        return list(self._texts)

    def to_json(self) -> dict[str, Any]:
        """The merges and the names of the special tokens; the ids follow from these."""
        merges = [list(pair) for pair in self.merges]
        return {"name": "bpe", "special_tokens": list(self.special_tokens), "merges": merges}

    @classmethod
    def from_json(cls, description: object) -> BPETokenizer:
        """The tokenizer whose ``to_json()`` returned ``description``.

        No code in it is executed, and its memory is proportional to its length.

        Raises:
            DataError: if it is not such a description.
        """
        match description:
            case {"name": "bpe", "special_tokens": list(names), "merges": list(merges)}:
                return cls(merges, names)
        raise DataError(
            "this is not the description of a tokenizer: for bpe it needs the name 'bpe', a list of special_tokens "
            "and a list of merges; train the tokenizer anew"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the description to ``path``, atomically.

        Raises:
            FileError: if the file cannot be written.
        """
        write_atomically(path, json.dumps(self.to_json()).encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BPETokenizer:
        """The tokenizer that was saved at ``path``.

        Raises:
            DataError: if the file is not one.
            FileError: if it cannot be read.
        """
        try:
            return cls.from_json(parse_json(read_file(path, LARGEST_FILE), containers=MOST_CONTAINERS))
        except FileError:
            raise
        except OSError as error:
            raise file_error("read", path, error) from error
        except (ValueError, DataError) as error:
            raise DataError(f"{path}: {error}") from error


def train_bpe_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int = 8000,
    min_frequency: int = 2,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
) -> BPETokenizer:
    """Learn the merges from ``texts``, which are read once, one by one.

    Args:
        texts: pieces of text; only the counts of their words stay in memory.
        vocab_size: total number of ids: special tokens, 256 bytes, merges. A short text may have fewer pairs to join.
        min_frequency: how often a pair must occur to be joined.
        special_tokens: names of ids that encode no text.

    Raises:
        ConfigError: if ``vocab_size`` has no room for the bytes or is too large, or ``min_frequency`` is below 1.
        DataError: if there is no text.
    """
    from tokenizers import Tokenizer, models, trainers

    names = _names(special_tokens)
    if not len(names) + 256 <= vocab_size <= LARGEST_VOCABULARY:
        raise ConfigError(
            f"vocab_size={vocab_size} must be at least {len(names) + 256}, for {len(names)} special tokens and the 256 "
            f"bytes, and at most {LARGEST_VOCABULARY}: choose 1024 for a small text, 8000 to 50000 for a large one"
        )
    if min_frequency < 1:
        raise ConfigError(f"min_frequency must be at least 1, not {min_frequency}")
    pieces = itertools.chain.from_iterable(map(_texts_of, texts))
    if (first := next(pieces, None)) is None:
        raise DataError("cannot train a BPE tokenizer without text: give some text")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(names),
        min_frequency=min_frequency,
        initial_alphabet=list(byte_letters()),
        special_tokens=[],
        show_progress=False,
    )
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = _words()
    library.train_from_iterator(itertools.chain([first], pieces), trainer)
    return BPETokenizer(json.loads(library.to_str())["model"]["merges"], names)


def train_joint_bpe_tokenizer(
    src_texts: Iterable[str],
    tgt_texts: Iterable[str],
    vocab_size: int = 8000,
    min_frequency: int = 2,
    save_dir: str | os.PathLike[str] | None = None,
) -> BPETokenizer:
    """Train one vocabulary for both sides of a translation: shared pieces get one id.

    Args:
        src_texts: texts of the source side.
        tgt_texts: texts of the target side.
        vocab_size: total number of ids, including ``<pad>`` 0, ``<bos>`` 1, ``<eos>`` 2, ``<unk>`` 3 and the 256 bytes.
        min_frequency: how often a pair of pieces must occur to be joined.
        save_dir: folder for ``tokenizer.json`` (`BPETokenizer.load` reads it); ``None`` saves nothing.

    Raises:
        ConfigError: if a number is out of range.
        DataError: if there is no text.
        FileError: if the file cannot be written.
    """
    texts = itertools.chain(src_texts, tgt_texts)
    tokenizer = train_bpe_tokenizer(texts, vocab_size=vocab_size, min_frequency=min_frequency)
    if save_dir is not None:
        tokenizer.save(make_folder(save_dir) / FILE_NAME)
    return tokenizer


def _texts_of(text: str) -> Iterator[str]:
    """``text`` in pieces that can be encoded one by one."""
    return (piece.decode("utf-8") for piece in read_pieces(io.BytesIO(utf8(text)), _PIECE))


def _batched(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, size)):
        yield batch


def _words() -> Any:
    """The library's step that splits a text into words and maps their bytes to letters."""
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _encoder(pieces: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    from tokenizers import Tokenizer, models

    encoder = Tokenizer(models.BPE(vocab=pieces, merges=merges))
    encoder.pre_tokenizer = _words()
    return encoder


def _names(special_tokens: Sequence[object]) -> tuple[str, ...]:
    names = tuple(name for name in special_tokens if isinstance(name, str) and name)
    if len(set(names)) < len(special_tokens):
        raise DataError(f"special tokens need different names, not {_short(list(special_tokens))}")
    return names


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
