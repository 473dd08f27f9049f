"""Decoding methods as plainly as they can be written: whole texts, no sessions, one row."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from minitrain.generation import sample_logits
from minitrain.generation.context import context_start
from minitrain.random import Key, uniform


def next_logits(model: Any, text: list[int]) -> Any:
    """(V,) the model's logits after a text of any length."""
    context = text[context_start(len(text), model.config.block_size) :]
    return model.forward(np.array([context], np.int32))[0][0, -1]


def log_softmax(logits: Any) -> list[float]:
    wide = [float(logit) for logit in logits]
    total = math.log(sum(math.exp(logit - max(wide)) for logit in wide)) + max(wide)
    return [logit - total for logit in wide]


def plain_sampling(
    model: Any, prompt: list[int], new: int, *, key: Key | None = None, stops: tuple[int, ...] = (), **settings: Any
) -> list[int]:
    """Greedy decoding without a key, sampling with one."""
    text = list(prompt)
    while len(text) < len(prompt) + new:
        number = None if key is None else uniform(key.fold("token", len(text)), (1,))
        choice = {"temperature": 0.0} if key is None else {**settings, "uniform": number}
        text.append(int(sample_logits(next_logits(model, text)[None], **choice)[0]))
        if text[-1] in stops:
            break
    return text[len(prompt) :]


def contains(tokens: tuple[int, ...], constraint: list[list[int]]) -> bool:
    """Whether one of the phrases is somewhere in the tokens."""
    return any(
        list(tokens[i : i + len(phrase)]) == phrase
        for phrase in constraint
        for i in range(len(tokens) - len(phrase) + 1)
    )


class Found(NamedTuple):
    tokens: tuple[int, ...]
    score: float


def exhaustive(
    model: Any,
    prompt: list[int],
    new: int,
    *,
    length_penalty: float,
    stops: tuple[int, ...] = (),
    constraints: tuple[list[list[int]], ...] = (),
) -> list[Found]:
    """Every text that can end, best first."""
    V, found = model.config.vocab_size, []
    for length in range(1, new + 1):
        for tokens in itertools.product(range(V), repeat=length):
            ends = tokens[-1] in stops or length == new
            if not ends or any(token in stops for token in tokens[:-1]):
                continue
            if not all(contains(tokens, constraint) for constraint in constraints):
                continue
            total = 0.0
            for t, token in enumerate(tokens):
                total += log_softmax(next_logits(model, [*prompt, *tokens[:t]]))[token]
            if total > -math.inf:
                found.append(Found(tokens, total / length**length_penalty))
    return sorted(found, key=lambda one: (-one.score, one.tokens))


class Searched(NamedTuple):
    ended: list[Found]
    shared: int  # beams that go on from a text that another one goes on from, too, summed over the steps


def plain_beam_search(
    model: Any,
    prompt: list[int],
    *,
    beams: int,
    new: int,
    length_penalty: float,
    early: Any,
    groups: int = 1,
    diversity: float = 0.0,
    stops: tuple[int, ...] = (),
    to_the_end: bool = False,
) -> Searched:
    """Beam search in groups, from its definition; ``to_the_end`` never stops early."""
    width = beams // groups
    live: list[list[tuple[tuple[int, ...], float]]] = [[((), 0.0)] for _ in range(groups)]
    ended: list[list[Found]] = [[] for _ in range(groups)]
    shared = 0
    for length in range(1, new + 1):
        chosen: list[int] = []
        parents = []
        for g in range(groups):
            candidates = []
            for tokens, total in live[g]:
                scores = log_softmax(next_logits(model, [*prompt, *tokens]))
                for token, score in enumerate(scores):
                    if score > -math.inf:
                        rank = total + score - diversity * chosen.count(token)
                        candidates.append((-rank, (*tokens, token), total + score))
            candidates.sort()
            over = [tokens[-1] in stops or length == new for _, tokens, _ in candidates]
            for (_, tokens, total), end in list(zip(candidates, over, strict=True))[:width]:
                if end:
                    ended[g].append(Found(tokens, total / length**length_penalty))
                    chosen += [token for token in tokens[-1:] if token not in stops]
            on = [one for one, end in zip(candidates, over, strict=True) if not end][:width]
            live[g] = [(tokens, total) for _, tokens, total in on]
            ended[g] = sorted(ended[g], key=lambda one: (-one.score, one.tokens))[:width]
            chosen += [tokens[-1] for tokens, _ in live[g]]
            if live[g] and len(ended[g]) == width and not to_the_end:
                best = max(total for _, total in live[g])
                longest = new if early == "never" and length_penalty > 0 else length
                if early is True or best / longest**length_penalty < ended[g][-1].score:
                    live[g] = []
            parents += [(g if length > 1 else 0, tokens[:-1]) for tokens, _ in live[g]]
        before, after = (context_start(len(prompt) + n, model.config.block_size) for n in (length - 1, length))
        if before == after:  # else the model reads the context again, and a copy would be of no use
            shared += len(parents) - len(set(parents))
        if not any(live):
            break
    different = {one.tokens: one for group in ended for one in group}
    return Searched(sorted(different.values(), key=lambda one: (-one.score, one.tokens)), shared)
