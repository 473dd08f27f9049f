"""``minitrain shards``: a text of any size as token shards, to train on with ``data=shards``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .arguments import Parser

if TYPE_CHECKING:
    from ..data import Tokenizer

_EPILOG = """\
The text is read in pieces, so it may be larger than the memory. If it is interrupted, the same command
continues where it stopped.

examples:
  minitrain shards books/ books.shards --tokenizer bpe --vocab-size 8000
  minitrain train data=shards data.path=books.shards"""


def run(argv: Sequence[str]) -> int:
    """Build the shards that ``argv`` asks for; returns the exit code."""
    from ..data.text.tokenizers import TOKENIZERS
    from ..tasks.settings.data import DataConfig

    usual = DataConfig()  # a text and its shards have the same tokens unless somebody asks for others
    parser = Parser("shards", description="Turn a text of any size into token shards.", epilog=_EPILOG)
    parser.add_argument("source", metavar="SOURCE", help="a text file, or a folder of them")
    parser.add_argument("out", metavar="OUT", help="the folder of the shards")
    parser.add_argument("--tokenizer", choices=TOKENIZERS, default=usual.tokenizer, help="the tokenizer (%(default)s)")
    parser.add_argument(
        "--vocab-size", type=int, default=usual.vocab_size, metavar="N", help="largest vocabulary of bpe (%(default)s)"
    )
    parser.add_argument("--shard-tokens", type=int, default=1 << 24, metavar="N", help="tokens in a shard (16 million)")
    arguments = parser.parse_args(argv)

    from ..data import build_token_shards

    shards = build_token_shards(
        arguments.source, _tokenizer(arguments), arguments.out, shard_tokens=arguments.shard_tokens
    )
    print(
        f"{shards.tokens.size:,} tokens, {shards.tokenizer.vocab_size:,} different, in {len(shards.files)} shards\n"
        f"train on them with: minitrain train data=shards data.path={arguments.out}"
    )
    return 0


def _tokenizer(arguments: argparse.Namespace) -> Tokenizer:
    """The tokenizer; one with a vocabulary reads the text once to find it."""
    from ..data import ByteTokenizer, CharTokenizer, train_bpe_tokenizer

    if arguments.tokenizer == "byte":
        return ByteTokenizer()
    if arguments.tokenizer == "bpe":
        return train_bpe_tokenizer(_pieces(arguments.source), vocab_size=arguments.vocab_size)
    characters = set("\n")  # it joins files
    for piece in _pieces(arguments.source):
        characters.update(piece)
    return CharTokenizer("".join(sorted(characters)))


def _pieces(source: str) -> Iterator[str]:
    from ..data.text.corpus import corpus_files, stream_file

    return (text for file in corpus_files(source) for _, text in stream_file(file))
