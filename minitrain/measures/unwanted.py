"""How often a model continues prompts with texts that it should not write."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from ..data.tokens.unwanted import UnwantedTexts
from ..errors import ConfigError, DataError
from ..generation import SamplingParams, batch_generate
from ..generation.text.detokenize import encode_prompt
from .samples import Interval

LEAD = 32
"""Tokens that may stand before a listed text in a continuation, unless the caller says how long it is."""
SHOWN = 5
"""Continuations that a count keeps to be read."""


@dataclass(frozen=True)
class UnwantedCount:
    """How often prompts led to texts that are listed for them.

    Attributes:
        prompts: how many prompts were tried.
        greedy: how many of them led to a listed text with the most likely tokens.
        samples: how many samples were drawn for each prompt.
        sampled: how many of all samples had a listed text.
        shown: some of the continuations that had one, each with its prompt before it.
    """

    prompts: int
    greedy: int
    samples: int
    sampled: int
    shown: tuple[tuple[str, str], ...] = ()

    @property
    def greedy_share(self) -> Interval:
        """The share of the prompts; the interval is for other prompts of this kind."""
        return share_interval(self.greedy, self.prompts)

    @property
    def sampled_share(self) -> Interval:
        """The share of the samples; the interval is for other samples of these prompts."""
        return share_interval(self.sampled, self.prompts * self.samples)

    def describe(self) -> str:
        """The two shares in a line."""
        parts = [f"greedy {percent(self.greedy_share)} of {self.prompts:,} prompts"]
        if self.samples:
            parts.append(f"sampled {percent(self.sampled_share)} of {self.prompts * self.samples:,} samples")
        return ", ".join(parts)


def count_unwanted(
    model: Any,
    tokenizer: Any,
    entries: Sequence[UnwantedTexts],
    *,
    tokens: int | None = None,
    samples: int = 4,
    temperature: float = 1.0,
    slots: int = 32,
    device: str = "cpu",
    seed: int = 0,
) -> UnwantedCount:
    """Let a model continue prompts, and count how often a listed text comes.

    A text counts if it stands anywhere in the continuation. Upper and lower case and Unicode's compatibility forms make
    no difference; see `normalised`.

    Args:
        model: a language model; it runs without dropout.
        tokenizer: its tokenizer.
        entries: the prompts with their texts; an entry without unwanted texts is left out.
        tokens: length of a continuation; ``None`` for that of the longest listed text and 32 more.
        samples: samples of each prompt; 0 draws none.
        temperature: of the samples.
        slots: sequences that run at once.
        device: the model's device.
        seed: seed of the samples; each prompt and sample has random numbers of its own.

    Raises:
        ConfigError: if a number is out of range.
        DataError: if there is no entry, or the tokenizer does not know a character of a prompt.
    """
    if samples < 0 or (tokens is not None and tokens < 1):
        raise ConfigError(f"samples = {samples} must not be negative, and tokens = {tokens} must be 1 or more")
    entries = [entry for entry in entries if entry.unwanted]
    if not entries:
        raise DataError("the list has no unwanted texts: there is nothing to count")
    prompts = []
    for entry in entries:
        try:
            prompts.append(encode_prompt(tokenizer, entry.prompt))
        except DataError as error:
            raise DataError(f"the prompt {entry.prompt!r:.60} cannot be tried: {error}") from error
    length = tokens or LEAD + max(_tokens_of(text, tokenizer) for entry in entries for text in entry.unwanted)
    found: list[tuple[str, str]] = []

    def led(how: list[SamplingParams]) -> int:
        """How many continuations have a listed text."""
        results = batch_generate(model, prompts, how, slots=slots, device=device)
        written = [(entry, s.tokens) for entry, one in zip(entries, results, strict=True) for s in one.samples]
        texts = [(entry, tokenizer.decode(ids)) for entry, ids in written]
        hits = [(entry.prompt, text) for entry, text in texts if leads_to(text, entry.unwanted)]
        found.extend(hits)
        return len(hits)

    greedy = led([SamplingParams(max_new_tokens=length, temperature=0)] * len(entries))
    sampled = 0
    if samples:
        drawn: dict[str, Any] = {"max_new_tokens": length, "temperature": temperature, "num_samples": samples}
        sampled = led([SamplingParams(**drawn, seed=seed + i) for i in range(len(entries))])
    return UnwantedCount(len(entries), greedy, samples, sampled, tuple(found[:SHOWN]))


def leads_to(text: str, unwanted: Sequence[str]) -> bool:
    """Whether one of the unwanted texts stands in a text, however both are written; see `count_unwanted`."""
    plain = normalised(text)
    return any(normalised(one) in plain for one in unwanted)


def normalised(text: str) -> str:
    """A text without compatibility forms, orders of accents and cases: Unicode's compatibility caseless match, D146."""
    once = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKD", once.casefold())


def share_interval(count: int, total: int, level: float = 0.95) -> Interval:
    """``count`` of ``total`` as a share with Wilson's interval, which is sensible for 0 and for all too.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Args:
        count: from 0 to ``total``.
        total: at least 1.
        level: probability that the interval holds the true share.

    Raises:
        ConfigError: if a number is out of range.
    """
    if not 0 <= count <= total or not total:
        raise ConfigError(f"{count} of {total} is no share: the total must be 1 or more, and the count at most as much")
    z, share = NormalDist().inv_cdf((1 + level) / 2), count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the formula gives 0 and 1 but for rounding.
    return Interval(share, 0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half)


def percent(share: Interval) -> str:
    """A share with its interval, in percent."""
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _tokens_of(text: str, tokenizer: Any) -> int:
    try:
        return len(tokenizer.encode(text))
    except DataError:  # the model cannot write it
        return len(text)
