"""How exposed planted secrets are (Carlini et al., "The Secret Sharer", 2019, arXiv:1802.08232).

A secret that was drawn at random is no more likely to a model that did not see it than other secrets are. So among
``m`` others its rank by likelihood is even from 1 to m + 1, and its exposure::

    log2(m + 1) - log2(rank)

is at least e with probability 2**-e only. A model that remembers the secret gives it the first rank: log2(m + 1) bits,
the most that so many others can show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import Tokenizer
from ..data.tokens.canaries import Canary, random_secrets
from ..errors import DataError
from ..evaluation.likelihood import ContinuationScorer
from ..generation import SamplingParams, batch_generate, session_for
from ..random import Key

AVERAGE_BY_CHANCE = 1 / math.log(2)
"""Mean exposure, in bits, of secrets that the model has never seen."""


@dataclass(frozen=True)
class Exposure:
    """The exposure of one canary.

    Attributes:
        canary: the canary.
        rank: its place among the secrets that were compared, by likelihood; 1 for the most likely.
        among: how many were compared, itself included.
        greedy: whether greedy decoding writes the secret after its prefix.
        sampled: in how many samples at temperature 1 it came.
        samples: how many samples were drawn.
    """

    canary: Canary
    rank: int
    among: int
    greedy: bool = False
    sampled: int = 0
    samples: int = 0

    @property
    def bits(self) -> float:
        """The exposure."""
        return math.log2(self.among) - math.log2(self.rank)

    @property
    def chance(self) -> float:
        """The probability of such a rank, or a better one, if the model has never seen the secret."""
        return self.rank / self.among


def exposures(
    model: Any,
    tokenizer: Tokenizer,
    canaries: Sequence[Canary],
    *,
    others: int = 1023,
    samples: int = 16,
    slots: int = 32,
    device: str = "cpu",
    seed: int = 0,
) -> list[Exposure]:
    """Measure how exposed canaries are.

    Args:
        model: a language model; it runs without dropout.
        tokenizer: its tokenizer.
        canaries: those that were planted.
        others: how many other secrets each is compared with; log2 of one more is the largest exposure.
        samples: samples of each prefix's continuation; 0 draws none.
        slots: sequences that run at once.
        device: the model's device.
        seed: seed of the other secrets and the samples.

    Returns:
        One for each canary. Ties count in favour of the other secrets, that is against exposure.

    Raises:
        DataError: if the tokenizer does not know the canaries' characters.
    """
    if not canaries:
        return []
    if others < 1:
        raise DataError(f"others = {others} must be 1 or more: exposure is a rank among other secrets")
    drawn = random_secrets(others + len(canaries), Key.from_seed(seed).fold("others"))
    scorer = ContinuationScorer(session_for(model, slots, device=device))
    found = []
    for canary in canaries:
        rest = [secret for secret in drawn if secret != canary.secret][:others]
        context = tokenizer.encode(canary.prefix)
        own, *scores = scorer.score(context, [tokenizer.encode(secret) for secret in (canary.secret, *rest)])
        nats = np.array([score.nats for score in scores])
        rank = 1 + int((nats >= own.nats).sum())
        found.append(Exposure(canary, rank, others + 1, own.greedy))
    if not samples:
        return found
    prompts = [tokenizer.encode(canary.prefix) for canary in canaries]
    secrets = [np.asarray(tokenizer.encode(canary.secret)) for canary in canaries]
    params = [
        SamplingParams(max_new_tokens=len(secret), temperature=1.0, num_samples=samples, seed=seed + number)
        for number, secret in enumerate(secrets)
    ]
    results = batch_generate(model, prompts, params, slots=slots, device=device)
    return [
        Exposure(
            one.canary,
            one.rank,
            one.among,
            one.greedy,
            sum(np.array_equal(sample.tokens, secret) for sample in result.samples),
            samples,
        )
        for one, secret, result in zip(found, secrets, results, strict=True)
    ]
