"""What a request may ask for: what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.generation import SamplingParams
from minitrain.generation.params import check_settings

BAD = [
    ({"max_new_tokens": -1}, "max_new_tokens=-1 must be an integer, 0 or more"),
    ({"max_new_tokens": 2.0}, r"max_new_tokens=2\.0 must be an integer"),
    ({"max_new_tokens": True}, "max_new_tokens=True must be an integer"),
    ({"min_new_tokens": -1}, "min_new_tokens=-1 must be an integer, 0 or more"),
    ({"min_new_tokens": 4, "max_new_tokens": 3}, "min_new_tokens=4 must be at most max_new_tokens=3"),
    ({"temperature": -0.1}, r"temperature=-0\.1 must be above 0, or 0"),
    ({"temperature": math.nan}, "temperature=nan must be a finite number"),
    ({"temperature": "hot"}, "temperature='hot' must be a finite number"),
    ({"top_k": 0}, "top_k=0 must be an integer, 1 or more"),
    ({"top_p": 0.0}, r"top_p=0\.0 must be above 0"),
    ({"top_p": math.inf}, "top_p=inf must be a finite number"),
    ({"top_p": 1.5}, r"top_p=1\.5 must be above 0 and at most 1"),
    ({"min_p": 1.5}, r"min_p=1\.5 must be from 0 to 1"),
    ({"min_p": -0.5}, r"min_p=-0\.5 must be from 0 to 1"),
    ({"typical_p": 0.0}, r"typical_p=0\.0 must be above 0 and at most 1"),
    ({"typical_p": 1.1}, r"typical_p=1\.1 must be above 0 and at most 1"),
    ({"typical_p": None, "min_p": None}, "min_p=None must be a finite number"),
    ({"repetition_penalty": 0.0}, r"repetition_penalty=0\.0 must be above 0"),
    ({"frequency_penalty": math.inf}, "frequency_penalty=inf must be a finite number"),
    ({"presence_penalty": math.nan}, "presence_penalty=nan must be a finite number"),
    ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size=-1 must be an integer, 0 or more"),
    ({"logit_bias": [1, 2]}, r"logit_bias=\[1, 2\] must be a dictionary"),
    ({"logit_bias": {-1: 0.5}}, "logit_bias=-1 must be an integer, 0 or more"),
    ({"logit_bias": {1: math.inf}}, "logit_bias of token 1 is inf, expected a number; -inf bans a token"),
    ({"logit_bias": {1: math.nan}}, "logit_bias of token 1 is nan"),
    ({"logit_bias": {1: "x"}}, "logit_bias of token 1 is 'x'"),
    ({"logit_bias": {1: True}}, "logit_bias of token 1 is True"),
    ({"suppress_tokens": [-1]}, "suppress_tokens=-1 must be an integer, 0 or more"),
    ({"suppress_tokens": 3}, "suppress_tokens=3 must be a list"),
    ({"suppress_tokens": "ab"}, "suppress_tokens='ab' must be a list"),
    ({"stop_token_ids": [0.5]}, r"stop_token_ids=0\.5 must be an integer"),
    ({"stop_token_ids": {1: 2}}, "stop_token_ids={1: 2} must be a list"),
    ({"forced_tokens": [1]}, r"forced_tokens=\[1\] must be a dictionary"),
    ({"forced_tokens": {-1: 1}}, "forced_tokens=-1 must be an integer"),
    ({"forced_tokens": {1: -1}}, "forced_tokens=-1 must be an integer"),
    ({"forced_tokens": {3: 1}, "max_new_tokens": 3}, "forced_tokens has index 3, but max_new_tokens=3"),
    ({"forced_tokens": {0: 7}, "suppress_tokens": [7]}, "token 7 is in forced_tokens and in suppress_tokens"),
    ({"stop": [""]}, r"stop=\('',\) must be strings of one character or more"),
    ({"stop": [3]}, r"stop=\(3,\) must be strings"),
    ({"stop": 3}, "stop=3 must be a list"),
    ({"num_samples": 0}, "num_samples=0 must be an integer, 1 or more"),
    ({"num_samples": 2, "temperature": 0}, "temperature=0 would give 2 equal samples"),
    ({"seed": -1}, "seed = -1 must be from 0"),
    ({"logprobs": -1}, "logprobs=-1 must be an integer, 0 or more"),
    ({"processor": 3}, "processor is a int, expected a function"),
]


@pytest.mark.parametrize(("settings", "says"), BAD, ids=lambda value: str(value)[:40])
def test_settings_out_of_range(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SamplingParams(**settings)


def test_the_settings_that_are_used_most_alone() -> None:
    check_settings(0.0, 1, 1.0)
    for settings in ((math.inf, None, None), (1.0, 0, None), (1.0, None, 1.5)):
        with pytest.raises(ConfigError):
            check_settings(*settings)


def test_the_borders_are_allowed() -> None:
    SamplingParams(max_new_tokens=0, temperature=0, top_k=1, top_p=1.0, min_p=1, typical_p=1.0, logprobs=0)
    SamplingParams(min_new_tokens=3, max_new_tokens=3, forced_tokens={2: 0}, logit_bias={0: -math.inf}, num_samples=2)
    SamplingParams(frequency_penalty=-2, presence_penalty=-2, repetition_penalty=0.1, seed=2**64 - 1)
    assert SamplingParams(processor=max).processor is max


def test_lists_become_tuples_and_empty_dictionaries_nothing() -> None:
    params = SamplingParams(
        suppress_tokens=np.array([3, 4]), stop_token_ids={5}, stop="end", logit_bias={}, forced_tokens={}
    )
    assert (params.suppress_tokens, params.stop_token_ids, params.stop) == ((3, 4), (5,), ("end",))
    assert params.logit_bias is None
    assert params.forced_tokens is None
    assert dataclasses.replace(params, stop=["a", "b"]).stop == ("a", "b")
    assert SamplingParams(logit_bias={np.int64(3): 1}).logit_bias == {3: 1}


def test_what_is_given_is_copied() -> None:
    bias, forced = {1: 2.0}, {0: 3}
    params = SamplingParams(logit_bias=bias, forced_tokens=forced)
    bias[9], forced[1] = 1.0, 1
    assert params.logit_bias == {1: 2.0}
    assert params.forced_tokens == {0: 3}


def test_a_new_seed_is_told() -> None:
    seeds = {SamplingParams(seed=None).seed for _ in range(5)}
    assert len(seeds) == 5
    assert SamplingParams().seed == 0


def test_a_new_seed_is_any_that_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbits", lambda bits: 2**bits - 1)
    assert SamplingParams(seed=None).seed == 2**64 - 1


def test_params_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        SamplingParams(10)  # type: ignore[misc]
