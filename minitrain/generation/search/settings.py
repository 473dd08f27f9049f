"""The settings of a beam search, and its results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ...errors import ConfigError
from ..sessions.session import Tokens
from .phrases import Phrases
from .prompts import check_new_tokens

EarlyStopping = bool | Literal["never"]


@dataclass(frozen=True)
class Hypothesis:
    """A text that a beam search found.

    Attributes:
        tokens: (n,) int32 the new tokens; the last one is a stop token if ``stopped``.
        score: ``log_probability / n ** length_penalty``.
        log_probability: the sum of the log-probabilities of the new tokens.
        stopped: whether it ended with a stop token, and not because it was long enough.
    """

    tokens: Tokens = field(compare=False)
    score: float
    log_probability: float
    stopped: bool


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """The arguments of `beam_search_generate`, which documents them, checked.

    Raises:
        ConfigError: if one is out of range, or they do not fit together.
    """

    num_beams: int
    max_new_tokens: int
    length_penalty: float
    early_stopping: EarlyStopping
    num_beam_groups: int
    diversity_penalty: float
    num_return_sequences: int
    stops: frozenset[int]
    phrases: Phrases | None

    def __post_init__(self) -> None:
        check_new_tokens(self.max_new_tokens)
        for name in ("num_beams", "num_beam_groups", "num_return_sequences"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be 1 or more")
        if self.num_return_sequences > self.num_beams:
            raise ConfigError(
                f"num_return_sequences={self.num_return_sequences} must be at most num_beams={self.num_beams}: "
                "no more are kept"
            )
        if self.num_beams % self.num_beam_groups:
            raise ConfigError(
                f"num_beams={self.num_beams} must be a multiple of num_beam_groups={self.num_beam_groups}: "
                "groups are of one size"
            )
        if not abs(self.length_penalty) <= 50:  # a power of any length of text is finite then
            raise ConfigError(f"length_penalty={self.length_penalty} must be from -50 to 50; 0 is none")
        if not (math.isfinite(self.diversity_penalty) and self.diversity_penalty >= 0):
            raise ConfigError(f"diversity_penalty={self.diversity_penalty} must be 0 or more")
        if self.diversity_penalty > 0 and self.num_beam_groups == 1:
            raise ConfigError(
                f"diversity_penalty={self.diversity_penalty} has no effect in one group: give num_beam_groups=2 or more"
            )
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ConfigError(f"early_stopping={self.early_stopping!r} must be True, False or 'never'")
        self._check_phrases()

    @property
    def width(self) -> int:
        """The beams of a group."""
        return self.num_beams // self.num_beam_groups

    def score(self, log_probability: float, length: int) -> float:
        """The score of ``length`` new tokens."""
        return log_probability / math.pow(length, self.length_penalty)

    def _check_phrases(self) -> None:
        if self.phrases is None:
            return
        for token in sorted(self.stops.intersection(self.phrases.tokens)):
            raise ConfigError(f"token {token} is in the constraints and in stop_token_ids: nothing comes after it")
        if self.phrases.needed[0] > self.max_new_tokens:
            raise ConfigError(
                f"the constraints take {self.phrases.needed[0]} tokens, but max_new_tokens={self.max_new_tokens}"
            )
