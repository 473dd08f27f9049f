"""Beam search for models that write about an input: translations of texts, captions of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError, ShapeError
from ...models.common.continuation import Continuation
from .distribution import log_probabilities
from .group import Beam, BeamGroup, Scores
from .settings import BeamSettings, EarlyStopping, Hypothesis

IntRow = np.ndarray[Any, np.dtype[np.integer[Any]]]


class Writer(Protocol):
    """A model that writes about inputs, such as `minitrain.models.Seq2Seq` and `minitrain.models.Captioner`."""

    @property
    def config(self) -> Any:
        """Its configuration, which has ``pad_idx`` and ``block_size``."""

    def begin(self, inputs: Array, /, *, copies: int = 1) -> Continuation:
        """``copies`` texts without a token for each input."""
        ...


def beam_search_targets(
    model: Writer,
    inputs: Array,
    *,
    start: int,
    end: int,
    max_new_tokens: int,
    num_beams: int = 4,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    num_return_sequences: int = 1,
) -> list[list[Hypothesis]]:
    """Find likely targets of each input, such as translations of a sentence.

    Each input has a search of its own, that of `beam_search_generate`, which documents scores and ends. All beams of
    all inputs share the model's passes. Padding is never written.

    Args:
        model: an encoder-decoder; runs without dropout.
        inputs: its inputs, on its device: sources (B, S) of a `Seq2Seq`, images (B, C, H, W) of a `Captioner`.
        start: the token that targets begin with.
        end: the token that ends a target.
        max_new_tokens: the most tokens of a target, the end token included; 1 to the model's ``block_size``.
        num_beams: how many texts go on in each step. 1 is greedy choice.
        length_penalty: above 0, longer texts are better than with 0; below 0, shorter ones.
        early_stopping: ``True``, ``False`` or ``"never"``, see `beam_search_generate`.
        num_return_sequences: how many results each input gets, at most ``num_beams``.

    Returns:
        For each input its results, best first.

    Raises:
        ConfigError: if a setting is out of range.
        NonFiniteError: if the model returns NaN or infinity.
        ShapeError: if there is no input, or from the model, if it cannot read them.
        TokenError: from the model, if a token is outside its vocabulary.
    """
    settings = BeamSettings(
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        num_beam_groups=1,
        diversity_penalty=0.0,
        num_return_sequences=num_return_sequences,
        stops=frozenset([end]),
        phrases=None,
    )
    if max_new_tokens > (longest := model.config.block_size):
        raise ConfigError(f"max_new_tokens={max_new_tokens} must be at most the model's block_size, {longest}")
    if not len(inputs):
        raise ShapeError(f"there is no input: the inputs have the shape {inputs.shape}")
    texts, xp = model.begin(inputs, copies=num_beams), array_module(inputs)
    searches = {first: BeamGroup(settings, Beam(slot=first)) for first in range(0, texts.batch, num_beams)}
    tokens = np.full(texts.batch, start, np.int32)
    going = searches
    while going:
        logits = texts.scores_after(xp.asarray(tokens))  # (B * num_beams, V)
        logits[:, model.config.pad_idx] = -xp.inf
        rows = np.arange(texts.batch)  # the row whose text each row continues
        advance(going, log_probabilities(logits), rows, tokens)
        going = {first: search for first, search in going.items() if search.beams}
        if going:
            texts.select(xp.asarray(rows))
    return [search.ended[:num_return_sequences] for search in searches.values()]


def advance(searches: Mapping[int, BeamGroup], scores: Scores, rows: IntRow, tokens: IntRow) -> None:
    """Let each search choose once, and place its beams in its own rows.

    Args:
        searches: those that go on, by the first of their rows.
        scores: (N, V) log-probabilities of the next token in each row.
        rows: (N,) becomes the row that each row's text was in.
        tokens: (N,) becomes the last token of each row. Rows without a beam stay as they are.
    """
    for first, search in searches.items():
        search.advance(scores[[beam.slot for beam in search.beams]], np.zeros(scores.shape[1]))
        for row, beam in enumerate(search.beams, first):
            rows[row], tokens[row], beam.slot = beam.slot, beam.tokens[-1], row
