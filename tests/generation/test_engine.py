"""Continuous batching: each request gets the same tokens alone and beside any others, and gives its slots back."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minitrain.backend.precision import half_dtype
from minitrain.errors import ConfigError, NonFiniteError, ShapeError, TokenError
from minitrain.generation import Engine, Event, SamplingParams, UncachedSession
from minitrain.generation.choosing import float_rows
from minitrain.generation.context import context_start
from minitrain.random import Key
from tests.helpers.decoding.engine_runs import Recording, by_sample, drive, one_by_one, steps
from tests.helpers.plain_generation import PlainModel

V, LONGEST = 11, 6
PLAIN = PlainModel(V, LONGEST)


@pytest.mark.parametrize("limit", [None, 1, 4])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_some_requests_beside_each_other(slots: int, limit: int | None) -> None:
    """Each sample has the tokens of the definition, which runs the model on each context alone."""
    session, rng = Recording(PLAIN, slots), np.random.default_rng(slots)
    engine = Engine(session, prompt_tokens_per_step=limit)
    requests, events = [], []
    for i, (size, new, samples, stops) in enumerate(
        [(3, 9, 2, ()), (9, 2, 1, ()), (1, 12, 3, (3,)), (6, 1, 2, ()), (5, 5, 1, (1, 4)), (2, 0, 2, ())]
    ):
        prompt = rng.integers(0, V, size).tolist()
        params = SamplingParams(max_new_tokens=new, num_samples=samples, stop_token_ids=stops, seed=i, temperature=2)
        requests.append((prompt, params))
        assert engine.submit(prompt, params) == i
        events += engine.step()
        assert engine.running <= slots
    found = by_sample(events + drive(engine))
    for number, (prompt, params) in enumerate(requests):
        for sample in range(params.num_samples):
            told = found[number, sample]
            tokens = [one[0] for one in told if one[0] is not None]
            assert tokens == one_by_one(PLAIN, prompt, params, sample)
            stopped = bool(tokens) and tokens[-1] in params.stop_token_ids
            assert [one[3] for one in told] == [None] * (len(told) - 1) + ["stop" if stopped else "length"]
            assert told[-1][4] == (tokens[-1] if stopped else None)
    for fed in session.fed:
        long = [len(new) for new in fed.values() if len(new) > 1]
        assert limit is None or sum(long) <= limit
    assert [session.length(slot) for slot in range(slots)] == [0] * slots
    assert sorted(engine._free) == list(range(slots))
    assert not engine._requests
    assert engine.running == 0


@pytest.mark.parametrize("size", [1, 3, 9])
def test_a_later_sample_has_the_tokens_of_its_own(size: int) -> None:
    """It copies what the other one has taken in, less the last token, also of a context that began later."""
    engine = Engine(Recording(PLAIN, 2))
    engine.submit([4], SamplingParams(max_new_tokens=1))
    prompt, params = list(range(size)), SamplingParams(max_new_tokens=3, num_samples=2, temperature=2)
    engine.submit(prompt, params)
    found = by_sample(drive(engine))
    for sample in range(2):
        assert [told[0] for told in found[1, sample]] == one_by_one(PLAIN, prompt, params, sample)


def test_prompts_share_the_limit_of_a_step() -> None:
    """What one leaves is the next one's; single tokens do not count."""
    session = Recording(PlainModel(V, 20), 2)
    engine = Engine(session, prompt_tokens_per_step=4)
    for size in (6, 7):
        engine.submit(list(range(size)), SamplingParams(max_new_tokens=3))
    drive(engine)
    fed = [{slot: len(new) for slot, new in step.items()} for step in session.fed]
    assert fed == [{0: 4}, {0: 2, 1: 2}, {0: 1, 1: 4}, {0: 1, 1: 1}, {1: 1}, {1: 1}]


def test_slots_are_filled_at_once_and_freed_at_once() -> None:
    """Three requests of 1, 3 and 2 tokens on two slots: the third begins where the first ended."""
    session = Recording(PLAIN, 2)
    engine = Engine(session)
    for new in (1, 3, 2):
        engine.submit([5], SamplingParams(max_new_tokens=new))
    assert engine.running == 0
    told = [[(event.request, event.finish_reason) for event in events] for events in steps(engine)]
    assert told == [[(0, "length"), (1, None)], [(1, None), (2, None)], [(1, "length"), (2, "length")]]
    assert [len(fed) for fed in session.fed] == [2, 2, 2], "no call of the model for what has ended"
    assert engine.step() == []


def test_samples_that_begin_together_share_the_prompt() -> None:
    session = Recording(PLAIN, 4)
    engine = Engine(session, prompt_tokens_per_step=2)
    engine.submit([1, 2, 3], SamplingParams(max_new_tokens=2, num_samples=3))
    assert engine.step() == []
    assert engine.running == 3
    assert [event.sample for event in engine.step()] == [0, 1, 2]
    assert session.fed == [{0: [1, 2]}, {0: [3]}]
    drive(engine)
    assert len(session.fed[2]) == 3


def test_a_later_sample_copies_the_prompt_of_one_that_runs() -> None:
    session = Recording(PLAIN, 2)
    engine = Engine(session)
    other = engine.submit([4], SamplingParams(max_new_tokens=1))
    engine.submit([1, 2, 3], SamplingParams(max_new_tokens=3, num_samples=2))
    engine.step()
    assert session.fed == [{0: [4], 1: [1, 2, 3]}]
    assert other not in engine._requests
    engine.step()
    assert session.fed[1][0] == [3], "the last token of the prompt alone"


def test_a_later_sample_takes_the_prompt_in_if_the_context_of_the_other_has_started_again() -> None:
    session = Recording(PLAIN, 2)
    engine = Engine(session)
    engine.submit([4], SamplingParams(max_new_tokens=3))
    engine.submit([1, 2, 3, 4, 5], SamplingParams(max_new_tokens=5, num_samples=2))
    for _ in range(3):
        engine.step()
    engine.step()
    assert session.fed[3][0] == [1, 2, 3, 4, 5]


def test_the_context_starts_again_with_its_last_half() -> None:
    model = PlainModel(V, 5)
    session = Recording(model, 1)
    engine = Engine(session)
    engine.submit([1, 2, 3], SamplingParams(max_new_tokens=8))
    tokens = [1, 2, 3] + [event.token for event in drive(engine)]
    assert [len(fed[0]) for fed in session.fed] == [3, 1, 1, 2, 1, 1, 1, 2]
    assert [seen[0].tolist() for seen in model.seen] == [tokens[context_start(n, 5) : n] for n in range(3, 11)]


def test_a_cancelled_request_frees_its_slots_and_the_others_do_not_notice() -> None:
    session = Recording(PLAIN, 3)
    engine = Engine(session, prompt_tokens_per_step=1)
    undisturbed = Engine(Recording(PLAIN, 1))
    undisturbed.submit([7, 8], SamplingParams(max_new_tokens=4))
    running = engine.submit([7, 8], SamplingParams(max_new_tokens=4))
    half = engine.submit([1, 2, 3, 4], SamplingParams(num_samples=4))  # two have slots, and two wait
    events = engine.step()
    assert engine.running == 3
    unseen = engine.submit([1], SamplingParams())
    engine.cancel(half)
    engine.cancel(unseen)
    events += engine.step()
    assert engine.running == 1
    assert [session.length(slot) > 0 for slot in range(3)] == [True, False, False]
    found = by_sample(events + drive(engine))
    assert [told[3] for told in found[unseen, 0]] == ["cancelled"]
    assert [found[half, i] for i in range(4)] == [[(None, None, (), "cancelled", None, None)]] * 4
    assert found[running, 0] == by_sample(drive(undisturbed))[0, 0]
    engine.cancel(half)  # once more: nothing
    assert not engine.busy
    assert engine.step() == []


def test_a_request_is_cancelled_after_some_tokens() -> None:
    session = Recording(PLAIN, 2)
    engine = Engine(session)
    request = engine.submit([1], SamplingParams(num_samples=2, max_new_tokens=100))
    engine.step()
    engine.step()
    engine.cancel(request)
    assert [(*event[:3], event.finish_reason) for event in engine.step()] == [
        (0, 0, None, "cancelled"),
        (0, 1, None, "cancelled"),
    ]
    assert not engine.busy
    assert session.length(0) == session.length(1) == 0
    assert [event.finish_reason for event in drive_new(engine)] == ["length"]


def drive_new(engine: Engine) -> list[Event]:
    engine.submit([1], SamplingParams(max_new_tokens=1))
    return drive(engine)


def test_closing_frees_the_slots() -> None:
    session = Recording(PLAIN, 2)
    engine = Engine(session)
    for _ in range(3):
        engine.submit([1, 2], SamplingParams(num_samples=2))
    engine.step()
    engine.cancel(engine.submit([1, 2]))
    engine.close()
    assert not engine.busy
    assert session.length(0) == session.length(1) == 0
    assert len(drive_new(engine)) == 1


def test_slots_of_others_are_left_alone() -> None:
    session = Recording(PLAIN, 3)
    session.extend({1: np.array([1, 2], np.int32)})
    engine = Engine(session)
    engine.submit([3], SamplingParams(max_new_tokens=2, num_samples=3))
    drive(engine)
    assert session.length(1) == 2
    full = UncachedSession(PLAIN, 1)
    full.extend({0: np.array([1], np.int32)})
    with pytest.raises(ConfigError, match="all 1 slots of the session are in use"):
        Engine(full)


class Damaged(PlainModel):
    """NaN after token 9."""

    def forward(self, tokens: Any, *, key: Any = None) -> Any:
        logits, cache = super().forward(tokens, key=key)
        if tokens.max() >= V:
            raise TokenError("token 11 is outside the vocabulary")
        logits[tokens[:, -1] == 9] = np.nan
        return logits, cache


def failures(prompt: list[int], params: SamplingParams) -> tuple[Exception | None, ...]:
    """The errors of a request beside another one, which goes on as if it were alone."""
    session = Recording(Damaged(V, LONGEST), 3)
    engine = Engine(session)
    good = SamplingParams(max_new_tokens=4, suppress_tokens=[9])
    assert engine.submit([1, 2], good) == 0
    assert engine.submit(prompt, params) == 1
    found = by_sample(drive(engine))
    alone = Engine(Recording(Damaged(V, LONGEST), 1))
    alone.submit([1, 2], good)
    assert found[0, 0] == by_sample(drive(alone))[0, 0]
    assert [session.length(slot) for slot in range(3)] == [0, 0, 0]
    last = [found[1, i][-1] for i in range(params.num_samples)]
    assert {(told[0], told[3]) for told in last} == {(None, "error")}
    return tuple(told[5] for told in last)


def test_a_request_with_nan_fails_alone_and_is_named() -> None:
    (error,) = failures([3, 9], SamplingParams())
    assert isinstance(error, NonFiniteError)
    assert str(error).startswith("request 1, sample 0, new token 0: the highest logit is nan")
    (error,) = failures([3], SamplingParams(temperature=0, forced_tokens={0: 2, 1: 9}))
    assert str(error).startswith("request 1, sample 0, new token 2: the highest logit is nan")


def test_all_samples_of_a_request_fail_together() -> None:
    errors = failures([3, 9], SamplingParams(num_samples=2))
    assert [str(error) for error in errors] == [str(errors[0])] * 2
    errors = failures([3], SamplingParams(num_samples=4, forced_tokens={1: 9}))
    assert str(errors[3]).startswith("request 1, sample 0, new token 2: ")


def test_a_prompt_outside_the_vocabulary_fails_alone() -> None:
    (error,) = failures([3, 11], SamplingParams())
    assert isinstance(error, TokenError)
    assert str(error) == "request 1, sample 0, new token 0: token 11 is outside the vocabulary"


def test_settings_outside_the_vocabulary_fail_alone() -> None:
    (error,) = failures([3], SamplingParams(suppress_tokens=[11]))
    assert isinstance(error, TokenError)
    assert "request 1, sample 0, new token 0: the settings name token 11, but the vocabulary has 11" in str(error)


def test_a_processor_that_raises_fails_alone() -> None:
    def broken(tokens: Any, logits: Any) -> Any:
        if len(tokens) == 3:
            raise ZeroDivisionError("mine")
        return logits

    (error,) = failures([3], SamplingParams(processor=broken, suppress_tokens=[9]))
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__ == ["minitrain: in request 1, sample 0, new token 2"]


BAD_PROMPTS = [
    ([], ShapeError, r"prompt is float64 of shape \(0,\), expected integers \(n,\), at least one"),
    ([[1]], ShapeError, r"prompt is int64 of shape \(1, 1\)"),
    (np.empty(0, int), ShapeError, r"prompt is int64 of shape \(0,\)"),
    ([[1], [2, 3]], ShapeError, "prompt is no list of integers"),
    ([0.5], ShapeError, "prompt is float64"),
    ("text", ShapeError, "prompt is a text, expected token ids"),
    ([1, -2], TokenError, "prompt has the token -2"),
    ([1, -1], TokenError, "prompt has the token -1"),
    ([0, 2**31], TokenError, "prompt has the token 2147483648"),
    ([1, 2**31], TokenError, "prompt has the token 2147483648"),
]


@pytest.mark.parametrize(("prompt", "error", "says"), BAD_PROMPTS, ids=lambda value: str(value)[:20])
def test_a_wrong_prompt_is_refused_at_once(prompt: Any, error: type[Exception], says: str) -> None:
    engine = Engine(Recording(PLAIN, 1))
    with pytest.raises(error, match=says):
        engine.submit(prompt)
    assert not engine.busy
    assert engine.submit([2**31 - 1]) == 0


def test_wrong_calls() -> None:
    engine = Engine(Recording(PLAIN, 1), prompt_tokens_per_step=1)
    with pytest.raises(ConfigError, match=r"prompt_tokens_per_step=0 must be 1 or more, or None"):
        Engine(Recording(PLAIN, 1), prompt_tokens_per_step=0)
    with pytest.raises(ConfigError, match="stop strings need a detokenizer"):
        engine.submit([1], SamplingParams(stop="x"))
    engine.submit([1])
    for number in (-1, 1):
        with pytest.raises(ConfigError, match=f"there is no request {number}"):
            engine.cancel(number)
    engine.cancel(0)


def test_a_key_takes_the_place_of_the_seed() -> None:
    engine = Engine(Recording(PLAIN, 4))
    params = SamplingParams(max_new_tokens=9, num_samples=2, temperature=2)
    engine.submit([1], params, key=Key.from_seed(5))
    engine.submit([1], replace(params, num_samples=1), key=Key.from_seed(5).at_sample(1))
    engine.submit([1], replace(params, seed=5))
    found = by_sample(drive(engine))
    assert found[0, 0] == found[2, 0]
    assert found[0, 1] == found[2, 1] == found[1, 0]
    assert found[0, 0] != found[0, 1]


def test_other_threads_submit_and_cancel() -> None:
    """The results are those of requests that were all there from the beginning."""
    engine = Engine(Recording(PLAIN, 3))
    numbers: dict[int, int] = {}
    cancelled = []

    def submit(first: int) -> None:
        for i in range(first, first + 20):
            numbers[i] = engine.submit([i % V], SamplingParams(max_new_tokens=5, seed=i))
            if i % 5 == 0:
                engine.cancel(numbers[i])
                cancelled.append(numbers[i])

    threads = [threading.Thread(target=submit, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    events = []
    while any(thread.is_alive() for thread in threads) or engine.busy:
        events += engine.step()
    assert sorted(numbers.values()) == list(range(60))
    found = by_sample(events)
    for i, number in numbers.items():
        alone = Engine(Recording(PLAIN, 1))
        alone.submit([i % V], SamplingParams(max_new_tokens=5, seed=i))
        whole = by_sample(drive(alone))[0, 0]
        if found[number, 0][-1][3] == "cancelled":
            assert number in cancelled
            assert found[number, 0][:-1] == whole[: len(found[number, 0]) - 1]
        else:
            assert found[number, 0] == whole


def test_a_sample_may_be_very_long() -> None:
    engine = Engine(Recording(PLAIN, 1))
    engine.submit([1, 2], SamplingParams(max_new_tokens=600))
    tokens = [event.token for event in drive(engine)]
    assert len(tokens) == 600
    assert tokens == one_by_one(PLAIN, [1, 2], SamplingParams(max_new_tokens=600), 0)


def test_logits_of_all_types() -> None:
    """NumPy's floats stay as they are; others become float32."""
    for dtype, becomes in ((np.float64, np.float64), (np.float32, np.float32), (half_dtype("bfloat16"), np.float32)):
        rows = np.array([[1.0, -2.0]]).astype(dtype)
        assert float_rows(rows).dtype == becomes
        assert float_rows(rows).tolist() == [[1.0, -2.0]]
