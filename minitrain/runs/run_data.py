"""The tokens of a run: made from its text and kept in its folder, or read from token shards where they lie.

A text's tokens are copied into the run folder, so that the run goes on with the text it began with. Shards may be large
and stay where they are; the folder keeps their manifest, and a run goes on only while they are the same.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data import (
    TokenFile,
    Tokenizer,
    TokenLoader,
    TokenShards,
    build_tokenizer,
    evaluation_batches,
    read_corpus,
    tokenizer_from_json,
    write_tokens,
)
from ..data.text.corpus import corpus_files
from ..data.tokens.shards import MANIFEST
from ..data.tokens.token_array import TokenArray
from ..errors import DataError
from ..files import file_error, make_folder, write_atomically
from .config import RunConfig
from .data_config import DataConfig, TokensConfig

TOKENIZER, TRAIN_TOKENS, VAL_TOKENS, SHARDS = "tokenizer.json", "data/train.bin", "data/val.bin", "data/shards.json"


class RunTokens(NamedTuple):
    """What a run trains and validates on.

    Attributes:
        tokenizer: makes the ids.
        train: ``(N,)`` token ids to train on.
        val: ``(M,)`` token ids held out.
    """

    tokenizer: Tokenizer
    train: TokenArray
    val: TokenArray


def check_data(data: TokensConfig) -> None:
    """Check that the data is there, without reading all of it.

    Raises:
        DataError: if there is nothing at its path, or not what ``data.name`` says.
    """
    if not isinstance(data, DataConfig):
        TokenShards.open(Path(str(data.path)).expanduser())
    elif data.path is not None:
        if (Path(data.path) / MANIFEST).exists():
            raise DataError(f"{data.path} is a folder of token shards, not of text: add data=shards")
        corpus_files(data.path)


def prepare_tokens(config: RunConfig) -> RunTokens:
    """The tokens that the settings ask for, long enough for them; nothing is written.

    Raises:
        DataError: if the data is missing, damaged, not what ``data.name`` says, or too short, or the tokenizer does
            not know a character of ``generation.prompt``.
    """
    data, border = config.data, 1 - config.data.val_fraction
    if isinstance(data, DataConfig):
        check_data(data)
        text = read_corpus(data.path)
        tokenizer = build_tokenizer(data.tokenizer, text, vocab_size=data.vocab_size)
        ids = tokenizer.encode(text)
        tokens = RunTokens(tokenizer, ids[: int(len(ids) * border)], ids[int(len(ids) * border) :])
    else:
        tokens = _split(TokenShards.open(Path(str(data.path)).expanduser(), verify=True), border)
    TokenLoader(tokens.train, data.block_size, config.trainer.batch_size, config.seed)  # checks the lengths
    evaluation_batches(tokens.val, data.block_size, 1)
    if config.generation.prompt is not None:
        tokens.tokenizer.encode(config.generation.prompt)
    return tokens


def save_tokens(tokens: RunTokens, config: RunConfig, run_dir: Path) -> RunConfig:
    """Put what a run needs of its tokens into its folder.

    Returns:
        The settings, with a path that holds wherever the run is taken up.

    Raises:
        FileError: if the disk refuses.
    """
    make_folder((run_dir / TRAIN_TOKENS).parent)
    write_atomically(run_dir / TOKENIZER, json.dumps(tokens.tokenizer.to_json()).encode() + b"\n")
    if isinstance(config.data, DataConfig):
        vocab_size = tokens.tokenizer.vocab_size
        write_tokens(run_dir / TRAIN_TOKENS, np.asarray(tokens.train), vocab_size)
        write_tokens(run_dir / VAL_TOKENS, np.asarray(tokens.val), vocab_size)
        return config
    folder = Path(str(config.data.path)).expanduser().resolve()
    write_atomically(run_dir / SHARDS, (folder / MANIFEST).read_bytes())
    return replace(config, data=replace(config.data, path=str(folder)))


def load_tokens(config: RunConfig, run_dir: Path) -> RunTokens:
    """The tokens of the run in ``run_dir``, checked against their sums: a run on other tokens would be another run.

    Raises:
        DataError: if they are damaged, gone, or of another run.
    """
    tokenizer = load_tokenizer(run_dir)
    if not isinstance(config.data, DataConfig):
        shards = TokenShards.open(str(config.data.path), verify=True)
        try:
            same = (run_dir / SHARDS).read_bytes() == (shards.path / MANIFEST).read_bytes()
        except OSError as error:
            raise file_error("read", run_dir / SHARDS, error) from error
        if not same:
            raise DataError(f"the token shards in {shards.path} are not those that the run in {run_dir} began with")
        return _split(shards, 1 - config.data.val_fraction)
    files = [TokenFile.open(run_dir / name, verify=True) for name in (TRAIN_TOKENS, VAL_TOKENS)]
    for file in files:
        if file.vocab_size != tokenizer.vocab_size:
            raise DataError(
                f"{file.path} has token ids of a vocabulary of {file.vocab_size}, {run_dir / TOKENIZER} has "
                f"{tokenizer.vocab_size}: they are of two runs"
            )
    return RunTokens(tokenizer, files[0].tokens, files[1].tokens)


def load_tokenizer(run_dir: Path) -> Tokenizer:
    """The tokenizer of the run in ``run_dir``.

    Raises:
        DataError: if it is damaged.
        FileError: if it cannot be read.
    """
    path = run_dir / TOKENIZER
    try:
        return tokenizer_from_json(json.loads(path.read_bytes()))
    except OSError as error:
        raise file_error("read", path, error) from error
    except (ValueError, RecursionError, DataError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _split(shards: TokenShards, train_share: float) -> RunTokens:
    border = int(shards.tokens.size * train_share)
    return RunTokens(shards.tokenizer, shards.tokens.part(0, border), shards.tokens.part(border, shards.tokens.size))
