"""Lists of prompts: results in their order, events as they come, stop strings, and an end at any time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, NonFiniteError, ShapeError
from minitrain.generation import SamplingParams, UncachedSession, batch_generate, batch_stream
from minitrain.generation.batching import batches
from minitrain.generation.batching.requests import Event, Result, Sample
from tests.helpers.decoding.plain_endings import ending_of
from tests.helpers.plain_generation import PlainModel

MODEL = PlainModel(11, 6)
LETTERS = "abcdefghijk"


def letters(prompt: Any) -> Any:
    """A detokenizer: each token is a letter."""
    return lambda token: LETTERS[token]


@given(
    prompts=st.lists(st.lists(st.integers(0, 10), min_size=1, max_size=9), max_size=5),
    slots=st.integers(1, 6),
    seeds=st.lists(st.integers(0, 99), min_size=5, max_size=5),
)
def test_results_are_those_of_each_prompt_alone(prompts: list[list[int]], slots: int, seeds: list[int]) -> None:
    params = [SamplingParams(max_new_tokens=2 + seed % 9, seed=seed, logprobs=2) for seed in seeds[: len(prompts)]]
    results = batch_generate(MODEL, prompts, params, slots=slots)
    assert [result.prompt.tolist() for result in results] == prompts
    for prompt, wanted, result in zip(prompts, params, results, strict=True):
        (alone,) = batch_generate(MODEL, [np.array(prompt)], wanted)
        assert result.params is wanted
        assert result.tokens.dtype == np.int32
        assert result.tokens.tolist() == alone.tokens.tolist()
        sample = result.samples[0]
        assert len(sample.tokens) == len(sample.logprobs) == len(sample.best) == wanted.max_new_tokens
        assert sample.logprobs.tolist() == alone.samples[0].logprobs.tolist()
        assert all(len(best) == 2 for best in sample.best)
        assert result.finish_reason == "length"


def test_samples_and_what_was_not_asked_for() -> None:
    (result,) = batch_generate(MODEL, [[3]], SamplingParams(num_samples=3, max_new_tokens=12, temperature=3))
    assert len({tuple(sample.tokens.tolist()) for sample in result.samples}) == 3
    assert result.tokens.tolist() == result.samples[0].tokens.tolist()
    assert result.samples[1].logprobs is None
    assert result.samples[1].best is None
    (result,) = batch_generate(MODEL, [[3]], SamplingParams(max_new_tokens=2, logprobs=0))
    assert result.samples[0].best is None
    assert result.samples[0].logprobs.shape == (2,)


def test_equal_seeds_give_equal_results_and_others_others() -> None:
    params = SamplingParams(max_new_tokens=20, temperature=3)
    first, second, third = batch_generate(MODEL, [[3]] * 3, [params, params, replace(params, seed=1)])
    assert first.tokens.tolist() == second.tokens.tolist() != third.tokens.tolist()


def test_nothing_to_do() -> None:
    assert batch_generate(MODEL, []) == []
    (result,) = batch_generate(MODEL, [[3]], SamplingParams(max_new_tokens=0, logprobs=1))
    assert result.tokens.tolist() == []
    assert result.tokens.dtype == np.int32
    assert result.finish_reason == "length"
    assert result.samples[0].logprobs.tolist() == []


def test_defaults() -> None:
    (result,) = batch_generate(MODEL, [[3]])
    assert len(result.tokens) == 128


def test_events_come_one_by_one_and_the_iterator_can_be_closed() -> None:
    session = UncachedSession(MODEL, 2)
    events = batch_stream(session, [[1], [2], [3]], SamplingParams(max_new_tokens=50))
    assert [session.length(slot) for slot in (0, 1)] == [0, 0]
    first = [next(events) for _ in range(3)]
    assert [event.request for event in first] == [0, 1, 0]
    assert session.length(0) > 0
    events.close()
    assert [session.length(slot) for slot in (0, 1)] == [0, 0]
    assert next(events, None) is None


def test_slots_of_a_model_are_limited() -> None:
    events = batch_stream(MODEL, [[1]] * 5, SamplingParams(max_new_tokens=2), slots=2)
    assert [event.request for event in events] == [0, 1, 0, 1, 2, 3, 2, 3, 4, 4]


@pytest.mark.parametrize(("samples", "slots"), [([], 1), ([1], 1), ([2, 1], 3), ([5, 4], 8)])
def test_no_more_slots_than_samples(monkeypatch: pytest.MonkeyPatch, samples: list[int], slots: int) -> None:
    opened = []

    def opens(model: Any, slots: int, *, device: str) -> Any:
        opened.append((slots, device))
        return UncachedSession(model, slots)

    monkeypatch.setattr(batches, "open_session", opens)
    params = [SamplingParams(max_new_tokens=2, num_samples=n) for n in samples]
    assert len(batch_generate(MODEL, [[1]] * len(samples), params, device="elsewhere")) == len(samples)
    assert opened == [(slots, "elsewhere")]


def test_a_session_is_used_as_it_is() -> None:
    session = UncachedSession(MODEL, 1)
    results = batch_generate(session, [[1], [2]], SamplingParams(max_new_tokens=3))
    assert [result.tokens.tolist() for result in results] == [
        result.tokens.tolist() for result in batch_generate(MODEL, [[1], [2]], SamplingParams(max_new_tokens=3))
    ]


def test_the_first_error_is_raised_and_frees_the_slots() -> None:
    class Damaged(PlainModel):
        def row(self, tokens: list[int]) -> Any:
            return super().row(tokens) * (np.nan if tokens[0] == 7 else 1)

    session = UncachedSession(Damaged(11, 20), 2)
    with pytest.raises(NonFiniteError, match="request 1, sample 0, new token 0: the highest logit is nan"):
        batch_generate(session, [[1], [7], [2]], SamplingParams(max_new_tokens=5))
    assert [session.length(slot) for slot in (0, 1)] == [0, 0]


def test_wrong_arguments_are_refused_before_the_first_token() -> None:
    with pytest.raises(ConfigError, match="there are 2 prompts, but 1 parameters"):
        batch_stream(MODEL, [[1], [2]], [SamplingParams()])
    with pytest.raises(ShapeError, match="expected integers"):
        batch_stream(MODEL, [[1], []])
    with pytest.raises(ConfigError, match="stop strings need a detokenizer"):
        batch_stream(MODEL, [[1]], SamplingParams(stop=["x"]))
    with pytest.raises(ConfigError, match="slots = 0 must be 1 or more"):
        batch_stream(MODEL, [[1]], slots=0)


# Where samples stop.


def text_of(tokens: Any) -> str:
    return "".join(LETTERS[token] for token in tokens)


@given(seed=st.integers(0, 500), stop=st.lists(st.text("abcd", min_size=1, max_size=2), min_size=1, max_size=3))
def test_a_stop_string_ends_the_sample_that_has_it(seed: int, stop: list[str]) -> None:
    params = SamplingParams(max_new_tokens=15, seed=seed, temperature=3)
    (whole,) = batch_generate(MODEL, [[1]], params)
    (result,) = batch_generate(MODEL, [[1]], replace(params, stop=stop), detokenizer=letters)
    text = text_of(whole.tokens)
    expected = ending_of(list(text), stop)
    assert text_of(result.tokens) == text[: expected[0] if expected else None]
    assert result.finish_reason == ("stop" if expected else "length")
    assert result.samples[0].stopped_by == (expected[1] if expected else None)


def test_stop_tokens_are_the_last_ones_and_wait_for_the_least_length() -> None:
    params = SamplingParams(max_new_tokens=60, temperature=2)
    (whole,) = batch_generate(MODEL, [[1]], params)
    stop = int(whole.tokens[4])
    (result,) = batch_generate(MODEL, [[1]], replace(params, stop_token_ids=[stop]))
    n = whole.tokens.tolist().index(stop) + 1
    assert result.tokens.tolist() == whole.tokens.tolist()[:n]
    assert (result.finish_reason, result.samples[0].stopped_by) == ("stop", stop)
    for least in (n, n + 1, 30):
        (result,) = batch_generate(MODEL, [[1]], replace(params, stop_token_ids=[stop], min_new_tokens=least))
        assert stop not in result.tokens[: least - 1]
        assert len(result.tokens) >= least


def test_stop_strings_wait_for_the_least_length_and_must_begin_after_it() -> None:
    forced = {i: LETTERS.index(letter) for i, letter in enumerate("abcabcab")}
    params = SamplingParams(max_new_tokens=8, forced_tokens=forced, stop=["ab", "bcabca"])
    for least, length, by in ((0, 2, "ab"), (1, 2, "ab"), (2, 7, "bcabca"), (3, 5, "ab"), (4, 5, "ab"), (5, 8, "ab")):
        (result,) = batch_generate(MODEL, [[1]], replace(params, min_new_tokens=least), detokenizer=letters)
        assert len(result.tokens) == length, least
        assert (result.finish_reason, result.samples[0].stopped_by) == ("stop", by)


def test_each_sample_has_a_detokenizer_of_its_own_which_knows_the_prompt() -> None:
    made = []

    def detokenizer(prompt: Any) -> Any:
        made.append(prompt.tolist())
        return letters(prompt)

    params = SamplingParams(max_new_tokens=4, num_samples=2, forced_tokens=dict(enumerate([0, 1, 2, 3])), stop="bc")
    first, second = batch_generate(MODEL, [[1, 2], [3]], params, detokenizer=detokenizer)
    assert sorted(made) == [[1, 2], [1, 2], [3], [3]]
    assert [len(sample.tokens) for result in (first, second) for sample in result.samples] == [3] * 4


def test_a_detokenizer_without_stop_strings_is_not_asked() -> None:
    (result,) = batch_generate(MODEL, [[1]], SamplingParams(max_new_tokens=5), detokenizer=lambda prompt: None)
    (plain,) = batch_generate(MODEL, [[1]], SamplingParams(max_new_tokens=5))
    assert result.tokens.tolist() == plain.tokens.tolist()


def test_what_a_result_says_first_is_of_the_first_sample() -> None:
    """A sample whose end is not known has no reason."""
    samples = [Sample(np.array([n], np.int32), reason) for n, reason in ((3, "stop"), (4, "length"))]
    result = Result(np.array([1], np.int32), SamplingParams(num_samples=2), samples)
    assert (result.finish_reason, result.tokens.tolist()) == ("stop", [3])
    assert Sample.of([Event(0, 0, 7)], SamplingParams()).finish_reason == ""
