"""Continuing a block of prompts of one length, column by column: a thin layer on the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict, Unpack

import numpy as np

from ..backend.arrays import Array, array_module, check_plain, device_of, is_array, to_numpy
from ..errors import ConfigError, ShapeError
from ..random import Key
from .batching.engine import Engine
from .params import SamplingParams
from .sessions.choice import open_session
from .sessions.session import LanguageModel


class Sampling(TypedDict, total=False):
    """How tokens are chosen: keyword arguments of `stream`, which documents them and their defaults."""

    temperature: float
    top_k: int | None
    top_p: float | None
    key: Key | None


def generate(
    model: LanguageModel,
    tokens: Array,
    max_new_tokens: int,
    **sampling: Unpack[Sampling],
) -> Array:
    """Continue each row of ``tokens`` with the model.

    Arguments and errors are those of `stream`, which gives the same tokens one by one.

    Returns:
        ``(B, T0 + max_new_tokens)`` int32: the prompts and their continuations.
    """
    columns = list(stream(model, tokens, max_new_tokens, **sampling))
    xp = array_module(tokens)
    return xp.concatenate([tokens, *(column[:, None] for column in columns)], axis=1).astype(xp.int32)  # type: ignore[no-any-return]


def stream(
    model: LanguageModel,
    tokens: Array,
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    key: Key | None = None,
) -> Iterator[Array]:
    """Like `generate`, but yield each column of new tokens as soon as it is computed.

    The random number for a token is a function of the key, the index of its sample and its position. It does not
    change if you ask for more tokens, or for the samples of a batch one by one (`Key.at_sample`).

    The model sees at most ``config.block_size`` tokens. When a text has outgrown them, the context starts again with
    the last half of the block, numbered from position 0, and grows from there; see `minitrain.generation.context`.

    Args:
        model: the model; runs without dropout.
        tokens: ``(B, T0)`` integers, the prompts, at least one token each, on the model's device.
        max_new_tokens: how many tokens to append.
        temperature: 0 or more. Below 1, output is more predictable; above 1, more varied. 0 always takes the most
            likely token.
        top_k: choose only among this many of the most likely tokens.
        top_p: choose only among the most likely tokens that together have this share of the probability.
        key: random key; required unless the temperature is 0.

    Yields:
        ``(B,)`` int32, ``max_new_tokens`` times.

    Raises:
        ConfigError: if a setting is out of range, or the key is missing.
        ShapeError: if ``tokens`` is not a non-empty ``(B, T0)`` array of integers.
        TokenError: from the model, if a token is outside its vocabulary.
        NonFiniteError: if the model returns NaN or infinity.
    """
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature > 0 and key is None:
        raise ConfigError("sampling needs a key: pass key=Key.from_seed(0), or temperature=0")
    if not is_array(tokens):
        raise ShapeError(
            f"tokens is a {type(tokens).__name__}, expected an array of integers (B, T0): a tokenizer turns a text "
            "into ids, and numpy.array([ids]) is a prompt"
        )
    check_plain("tokens", tokens)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or 0 in tokens.shape:
        raise ShapeError(
            f"tokens is {tokens.dtype} of shape {tokens.shape}, expected integers (B, T0): "
            "one prompt per row, with at least one token"
        )
    engine = Engine(open_session(model, len(tokens), device=device_of(tokens)), prompt_tokens_per_step=None)
    for i, row in enumerate(to_numpy(tokens)):
        engine.submit(row, params, key=None if key is None else key.at_sample(key.sample + i))
    return _stream(engine, len(tokens), max_new_tokens, array_module(tokens))


def _stream(engine: Engine, rows: int, max_new_tokens: int, xp: Any) -> Iterator[Array]:
    """The columns of an engine whose requests are the rows; all have one length, so each step gives each a token."""
    try:
        for _ in range(max_new_tokens):
            column = np.empty(rows, np.int32)
            for event in engine.step():
                if event.error is not None:
                    raise event.error
                if event.token is not None:
                    column[event.request] = event.token
            yield xp.asarray(column)
    finally:
        engine.close()
