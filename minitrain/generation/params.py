"""The settings of a request for tokens, as one checked and unchangeable record."""

from __future__ import annotations

import contextlib
import math
import operator
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..backend.arrays import Array
from ..errors import ConfigError
from ..random import checked_seed
from .sessions.session import Tokens

Processor = Callable[[Tokens, Array], Array]
"""A function of the tokens (n,) of one sequence, prompt included, and the logits (V,) of the next one, that returns
logits (V,). It may write to the logits; ``-inf`` bans a token."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the tokens of one prompt are chosen. A setting that is left alone costs no time.

    The settings are applied in the order of `minitrain.generation.choosing`, which is that of transformers. Token
    ids are checked against the vocabulary when the first logits arrive.

    Attributes:
        max_new_tokens: the most tokens of a sample.
        min_new_tokens: the least tokens: before that, stop tokens are banned and stop strings are overlooked. A string
            counts if it begins in the text of the last of these tokens or later.
        temperature: logits are divided by it. Below 1, output is more predictable; above 1, more varied. 0 always
            takes the most likely token (greedy).
        top_k: choose only among this many of the most likely tokens; ``None`` for all.
        top_p: choose only among the most likely tokens that together have this share of the probability.
        min_p: choose only among tokens at least this many times as likely as the most likely one; 0 for all.
        typical_p: choose only among the most typical tokens that together have this share of the probability.
        repetition_penalty: divides the positive logits of tokens that are in the prompt or were chosen, and multiplies
            the negative ones. Above 1, repetition is rarer. 1 changes nothing.
        frequency_penalty: is subtracted from the logit of a token for each time it was chosen.
        presence_penalty: is subtracted from the logit of a token that was chosen at least once.
        no_repeat_ngram_size: no run of this many tokens appears twice, the prompt included; 0 for no limit.
        logit_bias: token id to a number that is added to its logit; ``-inf`` bans it.
        suppress_tokens: token ids that are never chosen.
        forced_tokens: index of a new token, from 0, to the id that it must have.
        stop_token_ids: a sample ends with the first of these tokens, which is its last token.
        stop: a text ends before the earliest occurrence of any of these strings, also across tokens, see
            `minitrain.generation.StopStrings`. A sample ends as soon as that is certain. The engine needs a detokenizer
            for them.
        num_samples: how many samples to draw for the prompt. They share the work for the prompt.
        seed: an integer from 0 to 2**64 - 1. Equal seeds give equal samples, alone and in any batch; sample ``i`` has
            random numbers of its own. ``None`` takes a new seed; ``Result.params.seed`` tells which.
        logprobs: ``None`` for no log-probabilities, 0 for that of the chosen token, and ``n`` for those of the ``n``
            most likely tokens too. They are of the model's own distribution, before any of these settings.
        processor: a function of your own, ``(tokens (n,), logits (V,)) -> logits (V,)``. It comes after the other
            changes of logits and before the temperature. It sees the prompt and the tokens chosen so far. If it has a
            method ``finished(tokens (n,)) -> bool``, a sample ends when that is true, before ``min_new_tokens`` too.

    Raises:
        ConfigError: if a setting is out of range or at odds with another one.
    """

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float = 0.0
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    logit_bias: Mapping[int, float] | None = None
    suppress_tokens: Collection[int] = ()
    forced_tokens: Mapping[int, int] | None = None
    stop_token_ids: Collection[int] = ()
    stop: Collection[str] = ()
    num_samples: int = 1
    seed: int | None = 0
    logprobs: int | None = None
    processor: Processor | None = None

    def __post_init__(self) -> None:
        """Check each setting, and those that depend on one another; lists become tuples."""
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) is not None:
                self._put(name, _integer(name, value, least))
        for name in ("temperature", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"):
            _check_number(name, getattr(self, name))
        for name in ("top_p", "typical_p"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name))
        check_settings(self.temperature, self.top_k, self.top_p)
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p={self.min_p} must be from 0 to 1; 0 keeps all tokens")
        if self.typical_p is not None and not 0 < self.typical_p <= 1:
            raise ConfigError(f"typical_p={self.typical_p} must be above 0 and at most 1, or None for all tokens")
        if self.repetition_penalty <= 0:
            raise ConfigError(f"repetition_penalty={self.repetition_penalty} must be above 0; 1 changes nothing")
        self._put("seed", secrets.randbits(64) if self.seed is None else checked_seed(self.seed))
        self._check_tokens()
        self._check_stop()
        self._check_together()

    def _check_tokens(self) -> None:
        for name in ("suppress_tokens", "stop_token_ids"):
            self._put(name, tuple(_integer(name, token, 0) for token in _several(name, getattr(self, name))))
        if self.logit_bias is not None:
            bias = {_integer("logit_bias", token, 0): value for token, value in _pairs("logit_bias", self.logit_bias)}
            for token, value in bias.items():
                if isinstance(value, bool) or not isinstance(value, int | float) or not value < math.inf:
                    raise ConfigError(f"logit_bias of token {token} is {value!r}, expected a number; -inf bans a token")
            self._put("logit_bias", bias or None)
        if self.forced_tokens is not None:
            pairs = _pairs("forced_tokens", self.forced_tokens)
            forced = {_integer("forced_tokens", i, 0): _integer("forced_tokens", token, 0) for i, token in pairs}
            self._put("forced_tokens", forced or None)

    def _check_stop(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(_several("stop", self.stop))
        if not all(isinstance(text, str) and text for text in stop):
            raise ConfigError(f"stop={stop!r} must be strings of one character or more")
        self._put("stop", stop)

    def _check_together(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens={self.min_new_tokens} must be at most max_new_tokens={self.max_new_tokens}"
            )
        if self.num_samples > 1 and self.temperature == 0:
            raise ConfigError(f"temperature=0 would give {self.num_samples} equal samples: leave out num_samples")
        for i, token in (self.forced_tokens or {}).items():
            if i >= self.max_new_tokens:
                raise ConfigError(f"forced_tokens has index {i}, but max_new_tokens={self.max_new_tokens}")
            if token in self.suppress_tokens:
                raise ConfigError(f"token {token} is in forced_tokens and in suppress_tokens")
        if self.processor is not None and not callable(self.processor):
            raise ConfigError(f"processor is a {type(self.processor).__name__}, expected a function (tokens, logits)")

    def _put(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


# Settings that are integers, and the least value of each.
_LEAST = {
    "max_new_tokens": 0,
    "min_new_tokens": 0,
    "top_k": 1,
    "no_repeat_ngram_size": 0,
    "num_samples": 1,
    "logprobs": 0,
}


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Check the settings that are used most.

    Raises:
        ConfigError: naming the setting, its value and its range.
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"temperature={temperature} must be above 0, or 0 for the most likely token")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k={top_k} must be 1 or more, or None to keep all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p={top_p} must be above 0 and at most 1, or None to keep all tokens")


def _integer(name: str, value: Any, least: int) -> int:
    if not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if number >= least:
                return number
    raise ConfigError(f"{name}={value!r} must be an integer, {least} or more")


def _check_number(name: str, value: Any) -> None:
    with contextlib.suppress(TypeError):
        if math.isfinite(value):
            return
    raise ConfigError(f"{name}={value!r} must be a finite number")


def _several(name: str, values: Any) -> Iterable[Any]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"{name}={values!r} must be a list")
    return values


def _pairs(name: str, mapping: Any) -> Iterable[tuple[Any, Any]]:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{name}={mapping!r} must be a dictionary")
    return mapping.items()
