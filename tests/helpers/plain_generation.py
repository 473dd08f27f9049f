"""What the next token's distribution should be, written out one token at a time; and models without weights."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from minitrain.generation import SamplingParams
from minitrain.random import Key


def changed_logits(row: list[float], tokens: list[int], prompt: int, params: SamplingParams) -> list[float]:
    """The logits after all settings that come before the temperature."""
    row = list(row)
    new = tokens[prompt:]
    for token, bias in (params.logit_bias or {}).items():
        row[token] += bias
    for token in set(tokens):
        factor = 1 / params.repetition_penalty if row[token] > 0 else params.repetition_penalty
        row[token] *= factor
    for token in set(new):
        row[token] -= params.frequency_penalty * new.count(token) + params.presence_penalty
    n = params.no_repeat_ngram_size
    runs = {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)} if n else set()
    for token in range(len(row)):
        end = (*tokens[len(tokens) - n + 1 :], token) if len(tokens) >= n - 1 else ()
        if end in runs:
            row[token] = -math.inf
    if len(new) < params.min_new_tokens:
        for token in params.stop_token_ids:
            row[token] = -math.inf
    for token in params.suppress_tokens:
        row[token] = -math.inf
    forced = (params.forced_tokens or {}).get(len(new))
    if forced is not None:
        row = [0.0 if token == forced else -math.inf for token in range(len(row))]
    if params.processor is not None:
        row = params.processor(np.array(tokens, np.int32), np.array(row)).tolist()
    return row


def distribution(row: list[float], params: SamplingParams) -> list[float]:
    """The probabilities of the tokens, given the logits after all other settings; temperature above 0."""
    highest = max(row)
    share = normalized({token: math.exp((x - highest) / params.temperature) for token, x in enumerate(row)})
    if params.top_k is not None:
        share = normalized(dict(ranked(share)[: params.top_k]))
    if params.top_p is not None:
        kept, total = {}, 0.0
        for token, p in ranked(share):
            if total < params.top_p:
                kept[token] = p
            total += p
        share = normalized(kept)
    if params.min_p:
        most = max(share.values())
        share = normalized({token: p for token, p in share.items() if p >= params.min_p * most})
    if params.typical_p is not None:
        entropy = -sum(p * math.log(p) for p in share.values() if p)
        distance = {token: abs(-math.log(p) - entropy) for token, p in share.items() if p}
        total, last = 0.0, 0.0
        for token in sorted(distance, key=lambda token: distance[token]):
            if total < params.typical_p:
                last = distance[token]
            total += share[token]
        share = normalized({token: share[token] for token in distance if distance[token] <= last})
    return [share.get(token, 0.0) for token in range(len(row))]


def ranked(share: dict[int, float]) -> list[tuple[int, float]]:
    return sorted(share.items(), key=lambda item: (-item[1], item[0]))


def normalized(share: dict[int, float]) -> dict[int, float]:
    total = sum(share.values())
    return {token: p / total for token, p in share.items()}


class PlainModel:
    """A model whose logits are a fixed, varied function of all tokens that it sees.

    Attributes:
        seen: the tokens (1, T) of each forward.
    """

    def __init__(self, vocab_size: int = 11, block_size: int = 5, scale: float = 3) -> None:
        self.config = SimpleNamespace(vocab_size=vocab_size, block_size=block_size)
        self.scale = scale
        self.seen: list[np.ndarray[Any, Any]] = []

    def row(self, tokens: list[int]) -> np.ndarray[Any, Any]:
        """The logits (V,) after these tokens, all of which the model sees."""
        number = sum((i + 1) * (token + 1) for i, token in enumerate(tokens))
        return (self.scale * np.sin(np.arange(1, self.config.vocab_size + 1) * number)).astype(np.float32)

    def forward(self, tokens: np.ndarray[Any, Any], *, key: Key | None = None) -> tuple[np.ndarray[Any, Any], None]:
        assert key is None  # no dropout while generating
        self.seen.append(tokens.copy())
        B, T = tokens.shape
        logits = np.full((B, T, self.config.vocab_size), np.nan, np.float32)  # only the last position is asked for
        for b in range(B):
            logits[b, -1] = self.row(tokens[b].tolist())
        return logits, None
