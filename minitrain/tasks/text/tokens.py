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

from ...data import (
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
from ...data.text.bpe import MOST_CONTAINERS
from ...data.text.corpus import corpus_files
from ...data.tokens.canaries import make_canaries, plant
from ...data.tokens.shards import MANIFEST
from ...data.tokens.token_array import TokenArray
from ...errors import DataError
from ...files import FileError, parse_json, read_file
from ...folder import RunFolder
from ...folder.names import LARGEST, SHARDS, TOKENIZER, TRAIN_TOKENS, VAL_TOKENS
from ...random import Key
from ..settings.data import DataConfig, TokensConfig
from ..task import TaskSettings
from .unwanted import Listed, load_listed, read_listed, samples_of, save_listed


class TokenSplit(NamedTuple):
    """The data of a run on a text: to train and to validate on.

    Attributes:
        train: ``(N,)`` token ids to train on.
        val: ``(M,)`` token ids held out.
        listed: texts that should not follow certain prompts, if the run has a list of them.
    """

    train: TokenArray
    val: TokenArray
    listed: Listed = Listed()


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


def prepare_tokens(config: TaskSettings, tokenizer: Tokenizer | None = None) -> tuple[Tokenizer, TokenSplit]:
    """The tokens that the settings ask for, long enough for them; nothing is written.

    Args:
        config: the settings.
        tokenizer: makes the tokens of a text; ``None`` builds the one that the settings say.

    Returns:
        The tokenizer, and the tokens.

    Raises:
        DataError: if the data is missing, damaged, not what ``data.name`` says, or too short, or the tokenizer does
            not know a character of ``generation.prompt`` or of the unwanted texts.
    """
    data, border = config.data, 1 - config.data.val_fraction
    listed = read_listed(data)
    if isinstance(data, DataConfig):
        check_data(data)
        text = read_corpus(data.path)
        canaries = make_canaries(data.canaries, Key.from_seed(config.seed))
        known = "".join(
            [text, *(canary.text for canary in canaries), *["0123456789"] * bool(canaries), listed.characters()]
        )
        tokenizer = tokenizer or build_tokenizer(data.tokenizer, known, vocab_size=data.vocab_size)
        ids = tokenizer.encode(text)
        tokens = TokenSplit(ids[: int(len(ids) * border)], ids[int(len(ids) * border) :])
        if canaries:
            planted = [tokenizer.encode(canary.text) for canary in canaries]
            tokens = tokens._replace(
                train=plant(tokens.train, planted, data.canary_repeats, Key.from_seed(config.seed).fold("canaries"))
            )
    else:
        tokenizer, tokens = _split(TokenShards.open(Path(str(data.path)).expanduser(), verify=True), border)
    TokenLoader(tokens.train, data.block_size, config.trainer.batch_size, config.seed)  # checks the lengths
    evaluation_batches(tokens.val, data.block_size, 1)
    samples_of(listed, tokenizer, data.block_size)  # checks that they fit
    for prompt in (config.generation.prompt, *(one.prompt for one in listed.val)):
        if prompt is not None:
            tokenizer.encode(prompt)
    return tokenizer, tokens._replace(listed=listed)


def tokens_of_text(path: str | Path, tokenizer: Tokenizer) -> TokenArray:
    """The tokens of a text file, or of a folder of them.

    Raises:
        DataError: if it is missing, not text, or too short, or the tokenizer does not know one of its characters.
    """
    return tokenizer.encode(read_corpus(str(path)))


def save_tokens(tokenizer: Tokenizer, tokens: TokenSplit, data: TokensConfig, run: RunFolder) -> TokensConfig:
    """Put what a run needs of its tokens into its folder.

    Returns:
        The section of the data, with a path that holds wherever the run is taken up.

    Raises:
        FileError: if the file cannot be written.
    """
    run.make(str(Path(TRAIN_TOKENS).parent))
    run.write(TOKENIZER, json.dumps(tokenizer.to_json()).encode() + b"\n")
    save_listed(tokens.listed, run)
    if isinstance(data, DataConfig):
        write_tokens(run.file(TRAIN_TOKENS), np.asarray(tokens.train), tokenizer.vocab_size)
        write_tokens(run.file(VAL_TOKENS), np.asarray(tokens.val), tokenizer.vocab_size)
        return data
    folder = Path(str(data.path)).expanduser().resolve()
    run.write(SHARDS, read_file(folder / MANIFEST, LARGEST[SHARDS]))
    return replace(data, path=str(folder))


def load_tokens(data: TokensConfig, run: RunFolder) -> tuple[Tokenizer, TokenSplit]:
    """The tokenizer and the tokens of a run, checked against their sums: on other tokens it would be another run.

    Raises:
        DataError: if they are damaged, gone, or of another run.
    """
    tokenizer = load_tokenizer(run)
    if not isinstance(data, DataConfig):
        own, place = run.read(SHARDS), Path(str(data.path))
        try:
            same = own == read_file(place / MANIFEST, len(own))
        except (FileError, FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise DataError(f"there are no token shards in {place}, or not those that the run in {run.path} began with")
        split = _split(TokenShards.open(place, verify=True), 1 - data.val_fraction)[1]
        return tokenizer, split._replace(listed=load_listed(data, run))
    files = [TokenFile.open(_beside_its_description(run, name), verify=True) for name in (TRAIN_TOKENS, VAL_TOKENS)]
    for file in files:
        if file.vocab_size != tokenizer.vocab_size:
            raise DataError(
                f"{file.path} has token ids of a vocabulary of {file.vocab_size}, {run.path / TOKENIZER} has "
                f"{tokenizer.vocab_size}: they are of two runs"
            )
    return tokenizer, TokenSplit(files[0].tokens, files[1].tokens, load_listed(data, run))


def load_tokenizer(run: RunFolder) -> Tokenizer:
    """The tokenizer of a run.

    Raises:
        DataError: if it is damaged.
        FileError: if it cannot be read.
    """
    content = run.read(TOKENIZER)
    try:
        return tokenizer_from_json(parse_json(content, containers=MOST_CONTAINERS))
    except (ValueError, DataError) as error:
        raise DataError(f"{run.path / TOKENIZER} is damaged: {error}") from error


def _beside_its_description(run: RunFolder, name: str) -> Path:
    """The path of a token file in the run folder, after a look at both of its files."""
    run.file(str(Path(name).with_suffix(".json")))
    return run.file(name)


def _split(shards: TokenShards, train_share: float) -> tuple[Tokenizer, TokenSplit]:
    border = int(shards.tokens.size * train_share)
    return shards.tokenizer, TokenSplit(shards.tokens.part(0, border), shards.tokens.part(border, shards.tokens.size))
