"""Minitrain's own tokenizers as a ``tokenizer.json``, so that other programs can use them.

The result makes the same ids from every text and the same text from every id, or the tokenizer is refused. Three things
are as the format has them:

- A character tokenizer refuses a character that it does not know. So does the written one: it has no unknown token.
- The special tokens of `BPETokenizer` are added tokens. `PretrainedTokenizer.encode` makes none from a text that spells
  one, unless it is asked to.
- `BPETokenizer` cuts a run of more than 65,536 bytes without a space; here it stays whole, which may save a token.
"""

from __future__ import annotations

from typing import Any

from ...errors import DataError
from .bpe import BOS, EOS, PAD, BPETokenizer
from .byte_letters import byte_letters
from .descriptions import added_token, byte_level_bpe
from .pretrained import PretrainedTokenizer
from .sentencepiece import SentencePieceTokenizer
from .tokenizers import ByteTokenizer, CharTokenizer, Tokenizer


def as_pretrained(tokenizer: Tokenizer) -> PretrainedTokenizer:
    """The same tokenizer in the format of Hugging Face's ``tokenizers``.

    Raises:
        DataError: if the format has no such tokenizer.
    """
    match tokenizer:
        case PretrainedTokenizer():
            return tokenizer
        case ByteTokenizer():
            return PretrainedTokenizer(
                byte_level_bpe({letter: number for number, letter in enumerate(byte_letters())}, [])
            )
        case CharTokenizer():
            return PretrainedTokenizer(_characters(tokenizer))
        case BPETokenizer():
            return _bpe(tokenizer)
        case SentencePieceTokenizer():
            raise DataError(
                "tokenizer.json has no SentencePiece rule: it joins pairs in a fixed order, and SentencePiece in one "
                "that depends on their place in the text; a GGUF file holds this tokenizer"
            )
    raise DataError(f"tokenizer.json has no {type(tokenizer).__name__}")


def _characters(tokenizer: CharTokenizer) -> dict[str, Any]:
    """Every character is a word of its own; without an unknown token, unknown words are refused."""
    if tokenizer.token_bytes() is None:
        raise DataError("tokenizer.json is UTF-8, which has no halves of surrogate pairs; this vocabulary has some")
    vocab = {character: number for number, character in enumerate(tokenizer.characters)}
    return {
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    }


def _bpe(tokenizer: BPETokenizer) -> PretrainedTokenizer:
    names, letters = tokenizer.special_tokens, byte_letters()
    pieces = ["".join(letters[byte] for byte in text) for text in tokenizer.token_bytes()[len(names) :]]
    if both := sorted({*names} & {*pieces}):
        raise DataError(
            f"tokenizer.json gives a name to one token alone; here the special token {both[0]!r} and a piece of text "
            "have the same"
        )
    vocab = {name: number for number, name in enumerate([*names, *pieces])}
    added = [added_token(number, name, special=True) for number, name in enumerate(names)]
    return PretrainedTokenizer(
        byte_level_bpe(vocab, tokenizer.merges, added=added),
        begin=BOS if BOS in names else None,
        end=[EOS] if EOS in names else [],
        pad=PAD if PAD in names else None,
    )
