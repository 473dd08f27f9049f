"""Engines that are driven to their end, and what they should tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minitrain.generation import Engine, Event, SamplingParams, UncachedSession
from minitrain.generation.choosing import Chooser
from minitrain.generation.context import context_start
from minitrain.random import Key, uniform


class Recording(UncachedSession):
    """Remembers what it was fed."""

    def __init__(self, model: Any, slots: int) -> None:
        super().__init__(model, slots)
        self.fed: list[dict[int, list[int]]] = []

    def extend(self, tokens: Any, *, every: bool = False) -> Any:
        self.fed.append({slot: new.tolist() for slot, new in tokens.items()})
        return super().extend(tokens, every=every)


def steps(engine: Engine) -> Iterator[list[Event]]:
    """What each step tells, until the engine is idle; a wrong one may never be."""
    for _ in range(2000):
        if not engine.busy:
            return
        yield engine.step()
    raise AssertionError("the engine does not come to an end")


def drive(engine: Engine) -> list[Event]:
    return [event for events in steps(engine) for event in events]


def by_sample(events: list[Event]) -> dict[tuple[int, int], list[Any]]:
    """What is told of each sample, without its names."""
    found: dict[tuple[int, int], list[Any]] = {}
    for event in events:
        found.setdefault((event.request, event.sample), []).append(event[2:])
    return found


def one_by_one(model: Any, prompt: list[int], params: SamplingParams, sample: int) -> list[int]:
    """The definition: the model on the context of each length, one number for each token."""
    tokens, chooser = list(prompt), Chooser(params)
    key = Key.from_seed(params.seed).fold("token").at_sample(sample)
    while len(tokens) < len(prompt) + params.max_new_tokens:
        context = np.array(tokens[context_start(len(tokens), model.config.block_size) :], np.int32)
        logits = model.forward(context[None])[0][0, -1]
        number = uniform(key.fold(len(tokens)), (1,))[0]
        tokens.append(chooser(logits, np.array(tokens, np.int32), len(prompt), number).token)
        if tokens[-1] in params.stop_token_ids:
            break
    return tokens[len(prompt) :]
