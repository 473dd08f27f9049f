"""How much of a text a model writes on word for word (Carlini et al., 2022, arXiv:2202.07646).

The model gets a prefix of the text and writes on, greedily and by sampling. The same with held-out text says how much
is easy to guess: only what goes beyond that was remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tokens.token_array import TokenArray
from ..errors import ConfigError, DataError
from ..generation import SamplingParams, batch_generate
from ..random import Key, random_bits


@dataclass(frozen=True)
class Extraction:
    """The result of attempts to extract a text.

    Attributes:
        attempts: how many prefixes were tried.
        prefix: tokens in a prefix.
        length: tokens that had to follow word for word.
        greedy: how many attempts wrote all of them greedily.
        sampled: how many did so in one of ``samples`` samples.
        samples: samples of each prefix.
        mean_match: mean number of tokens that greedy decoding wrote word for word before the first other one.
    """

    attempts: int
    prefix: int
    length: int
    greedy: int
    sampled: int
    samples: int
    mean_match: float


def extract(
    model: Any,
    tokens: TokenArray,
    *,
    attempts: int = 100,
    prefix: int = 32,
    length: int = 32,
    samples: int = 4,
    temperature: float = 1.0,
    slots: int = 32,
    device: str = "cpu",
    seed: int = 0,
) -> Extraction:
    """Try to let a model write a text on from prefixes at random places.

    Args:
        model: a language model; it runs without dropout.
        tokens: ``(N,)`` token ids of the text.
        attempts: how many places.
        prefix: tokens that the model is given.
        length: tokens that it has to write.
        samples: samples of each prefix; 0 draws none.
        temperature: of the samples.
        slots: sequences that run at once.
        device: the model's device.
        seed: seed of the places and the samples.

    Raises:
        ConfigError: if a size is below 1.
        DataError: if the text is shorter than a prefix with what follows.
    """
    for name, size in (("attempts", attempts), ("prefix", prefix), ("length", length)):
        if size < 1:
            raise ConfigError(f"{name} = {size} must be 1 or more")
    room = tokens.size - prefix - length + 1
    if room < 1:
        raise DataError(f"a text of {tokens.size} tokens is too short for {prefix} tokens and {length} to follow")
    words = random_bits(Key.from_seed(seed).fold("places"), (1, attempts))[0].astype(np.int64)
    starts = (words * room) >> 32
    windows = np.stack([np.asarray(tokens[start : start + prefix + length]) for start in starts.tolist()])
    prompts, truths = list(windows[:, :prefix]), windows[:, prefix:]

    greedy = SamplingParams(max_new_tokens=length, temperature=0)
    matches = [
        matching(result.tokens, truth)
        for result, truth in zip(
            batch_generate(model, prompts, greedy, slots=slots, device=device), truths, strict=True
        )
    ]
    sampled = 0
    if samples:
        how = [
            SamplingParams(max_new_tokens=length, temperature=temperature, num_samples=samples, seed=seed + number)
            for number in range(attempts)
        ]
        drawn = batch_generate(model, prompts, how, slots=slots, device=device)
        sampled = sum(
            any(matching(sample.tokens, truth) == length for sample in result.samples)
            for result, truth in zip(drawn, truths, strict=True)
        )
    return Extraction(attempts, prefix, length, matches.count(length), sampled, samples, float(np.mean(matches)))


def matching(written: NDArray[Any], truth: NDArray[Any]) -> int:
    """How many tokens agree before the first that differs."""
    same = min(len(written), len(truth))
    differ = np.flatnonzero(np.asarray(written[:same]) != np.asarray(truth[:same]))
    return int(differ[0]) if differ.size else same
