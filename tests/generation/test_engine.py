"""Continuous batching: each request gets the same tokens alone and beside any others, and gives its slots back."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, NonFiniteError, ShapeError, TokenError
from minitrain.generation import Engine, Event, SamplingParams, UncachedSession
from minitrain.generation.choosing import Chooser
from minitrain.generation.context import context_start
from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
from minitrain.random import Key, uniform
from tests.helpers.plain_generation import PlainModel

V, LONGEST = 11, 6
SHAPE = {"vocab_size": V, "block_size": LONGEST, "n_layer": 2, "n_head": 2, "n_embd": 8}
MODELS = {
    "GPT": GPT(GPTConfig(**SHAPE), seed=3),
    "Llama": Llama(LlamaConfig(**SHAPE, n_kv_head=1), seed=4),
    "plain": PlainModel(V, LONGEST),
}
for parameter in (*MODELS["GPT"].parameters(), *MODELS["Llama"].parameters()):
    parameter.data *= 4  # logits that differ


class Recording(UncachedSession):
    """Remembers what it was fed."""

    def __init__(self, model: Any, slots: int) -> None:
        super().__init__(model, slots)
        self.fed: list[dict[int, list[int]]] = []

    def extend(self, tokens: Any, *, every: bool = False) -> Any:
        self.fed.append({slot: new.tolist() for slot, new in tokens.items()})
        return super().extend(tokens, every=every)


def drive(engine: Engine) -> list[Event]:
    events = []
    while engine.busy:
        events += engine.step()
    return events


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
        context = np.array(tokens[context_start(len(tokens), LONGEST) :], np.int32)
        logits = model.forward(context[None])[0][0, -1]
        number = uniform(key.fold(len(tokens)), (1,))[0]
        tokens.append(chooser(logits, np.array(tokens, np.int32), len(prompt), number).token)
        if tokens[-1] in params.stop_token_ids:
            break
    return tokens[len(prompt) :]


IDS = st.integers(0, V - 1)
REQUESTS = st.lists(
    st.tuples(
        st.lists(IDS, min_size=1, max_size=14),
        st.builds(
            SamplingParams,
            max_new_tokens=st.integers(0, 12),
            temperature=st.floats(0.5, 2),
            top_k=st.none() | st.integers(1, 9),
            repetition_penalty=st.sampled_from([1.0, 1.3]),
            stop_token_ids=st.lists(IDS, max_size=2),
            num_samples=st.integers(1, 3),
            seed=st.integers(0, 5),
            logprobs=st.sampled_from([None, 0, 2]),
        ),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@settings(max_examples=25)
@given(requests=REQUESTS, data=st.data())
def test_one_result_in_any_order_beside_any_others(model: Any, requests: list[Any], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(requests))))
    session = Recording(model, data.draw(st.integers(1, 5)))
    limit = data.draw(st.none() | st.integers(1, 20))
    engine = Engine(session, prompt_tokens_per_step=limit)
    events = []
    for i in order:
        assert engine.submit(*requests[i]) == order.index(i)
        for _ in range(data.draw(st.integers(0, 2))):
            events += engine.step()
    found = by_sample(events + drive(engine))

    for number, i in enumerate(order):
        prompt, params = requests[i]
        alone = Engine(UncachedSession(model, params.num_samples), prompt_tokens_per_step=None)
        alone.submit(prompt, params)
        expected = by_sample(drive(alone))
        for sample in range(params.num_samples):
            assert found[number, sample] == expected[0, sample]
            tokens = [told[0] for told in found[number, sample] if told[0] is not None]
            assert tokens == one_by_one(model, prompt, params, sample)
            reasons = [told[3] for told in found[number, sample]]
            stopped = bool(tokens) and tokens[-1] in params.stop_token_ids
            assert reasons[-1] == ("stop" if stopped else "length")
            assert not any(reasons[:-1])
            assert found[number, sample][-1][4] == (tokens[-1] if stopped else None)
    assert all(session.length(slot) == 0 for slot in range(session.slots))
    assert engine.running == 0


@given(requests=REQUESTS, limit=st.integers(1, 9))
def test_prompts_are_taken_in_by_the_limit_and_hold_nobody_up(requests: list[Any], limit: int) -> None:
    session = Recording(MODELS["plain"], 3)
    engine = Engine(session, prompt_tokens_per_step=limit)
    for prompt, params in requests:
        engine.submit(prompt, params)
    while engine.busy:
        ready = {slot for slot, sample in engine._active.items() if sample.length - sample.fed == 1}
        calls = len(session.fed)
        engine.step()
        for fed in session.fed[calls:]:
            assert ready <= fed.keys()
            assert sum(len(new) for new in fed.values() if len(new) > 1) <= limit


def test_slots_are_filled_at_once_and_freed_at_once() -> None:
    """Three requests of 1, 3 and 2 tokens on two slots: the third begins where the first ended."""
    session = Recording(MODELS["plain"], 2)
    engine = Engine(session)
    for new in (1, 3, 2):
        engine.submit([5], SamplingParams(max_new_tokens=new))
    assert engine.running == 0
    told = []
    while engine.busy:
        told.append([(event.request, event.finish_reason) for event in engine.step()])
    assert told == [[(0, "length"), (1, None)], [(1, None), (2, None)], [(1, "length"), (2, "length")]]
    assert [len(fed) for fed in session.fed] == [2, 2, 2], "no call of the model for what has ended"
    assert engine.step() == []


def test_samples_that_begin_together_share_the_prompt() -> None:
    session = Recording(MODELS["plain"], 4)
    engine = Engine(session, prompt_tokens_per_step=2)
    engine.submit([1, 2, 3], SamplingParams(max_new_tokens=2, num_samples=3))
    assert engine.step() == []
    assert engine.running == 3
    assert [event.sample for event in engine.step()] == [0, 1, 2]
    assert session.fed == [{0: [1, 2]}, {0: [3]}]
    drive(engine)
    assert len(session.fed[2]) == 3


def test_a_later_sample_copies_the_prompt_of_one_that_runs() -> None:
    session = Recording(MODELS["plain"], 2)
    engine = Engine(session)
    other = engine.submit([4], SamplingParams(max_new_tokens=1))
    engine.submit([1, 2, 3], SamplingParams(max_new_tokens=3, num_samples=2))
    engine.step()
    assert session.fed == [{0: [4], 1: [1, 2, 3]}]
    assert other not in engine._requests
    engine.step()
    assert session.fed[1][0] == [3], "the last token of the prompt alone"


def test_a_later_sample_takes_the_prompt_in_if_the_context_of_the_other_has_started_again() -> None:
    session = Recording(MODELS["plain"], 2)
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
    session = Recording(MODELS["plain"], 3)
    engine = Engine(session, prompt_tokens_per_step=1)
    undisturbed = Engine(Recording(MODELS["plain"], 1))
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
    session = Recording(MODELS["plain"], 2)
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
    session = Recording(MODELS["plain"], 2)
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
    session = Recording(MODELS["plain"], 3)
    session.extend({1: np.array([1, 2], np.int32)})
    engine = Engine(session)
    engine.submit([3], SamplingParams(max_new_tokens=2, num_samples=3))
    drive(engine)
    assert session.length(1) == 2
    full = UncachedSession(MODELS["plain"], 1)
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
    ([[1], [2, 3]], ShapeError, "prompt is no list of integers"),
    ([0.5], ShapeError, "prompt is float64"),
    ("text", ShapeError, "prompt is a text, expected token ids"),
    ([1, -2], TokenError, "prompt has the token -2"),
    ([1, 2**31], TokenError, "prompt has the token 2147483648"),
]


@pytest.mark.parametrize(("prompt", "error", "says"), BAD_PROMPTS, ids=lambda value: str(value)[:20])
def test_a_wrong_prompt_is_refused_at_once(prompt: Any, error: type[Exception], says: str) -> None:
    engine = Engine(Recording(MODELS["plain"], 1))
    with pytest.raises(error, match=says):
        engine.submit(prompt)
    assert not engine.busy
    assert engine.submit([2**31 - 1]) == 0


def test_wrong_calls() -> None:
    engine = Engine(Recording(MODELS["plain"], 1), prompt_tokens_per_step=1)
    with pytest.raises(ConfigError, match=r"prompt_tokens_per_step=0 must be 1 or more, or None"):
        Engine(Recording(MODELS["plain"], 1), prompt_tokens_per_step=0)
    with pytest.raises(ConfigError, match="stop strings need a detokenizer"):
        engine.submit([1], SamplingParams(stop="x"))
    engine.submit([1])
    for number in (-1, 1):
        with pytest.raises(ConfigError, match=f"there is no request {number}"):
            engine.cancel(number)
    engine.cancel(0)


def test_a_key_takes_the_place_of_the_seed() -> None:
    engine = Engine(Recording(MODELS["plain"], 4))
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
    engine = Engine(Recording(MODELS["plain"], 3))
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
        alone = Engine(Recording(MODELS["plain"], 1))
        alone.submit([i % V], SamplingParams(max_new_tokens=5, seed=i))
        whole = by_sample(drive(alone))[0, 0]
        if found[number, 0][-1][3] == "cancelled":
            assert number in cancelled
            assert found[number, 0][:-1] == whole[: len(found[number, 0]) - 1]
        else:
            assert found[number, 0] == whole


def test_a_sample_may_be_very_long() -> None:
    engine = Engine(Recording(MODELS["plain"], 1))
    engine.submit([1, 2], SamplingParams(max_new_tokens=600))
    tokens = [event.token for event in drive(engine)]
    assert len(tokens) == 600
    assert tokens == one_by_one(MODELS["plain"], [1, 2], SamplingParams(max_new_tokens=600), 0)


def test_frequencies_with_the_seed_s_random_numbers() -> None:
    """Chi-square over many samples of one request, and of pairs of neighbouring tokens."""
    row = np.array([2.0, 1.0, 0.0, -1.0, 0.5], np.float32)

    class Constant(PlainModel):
        def row(self, tokens: list[int]) -> Any:
            return row

    n = 4000
    engine = Engine(UncachedSession(Constant(5, 8), 50))
    engine.submit([0], SamplingParams(max_new_tokens=3, num_samples=n, temperature=1.5, min_p=0.2, seed=7))
    found = by_sample(drive(engine))
    tokens = np.array([[told[0] for told in found[0, i]] for i in range(n)])  # (n, 3)
    weight = [math.exp(x / 1.5) for x in row]
    kept = np.array([w if w >= 0.2 * max(weight) else 0 for w in weight])
    assert (kept > 0).sum() == 4
    expected = n * kept / kept.sum()
    possible = expected > 0
    for column in tokens.T:
        counts = np.bincount(column, minlength=5)
        assert counts[~possible].sum() == 0
        chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
        assert chi_square < 16.27  # 3 degrees of freedom, p = 0.001
    for a, b in ((0, 1), (1, 2)):  # two tokens of one sample
        check_independent(tokens[:, a], tokens[:, b], expected[possible])
    check_independent(tokens[:-1, 0], tokens[1:, 0], expected[possible])  # two samples next to each other


def check_independent(first: Any, second: Any, expected: Any) -> None:
    n, size = len(first), len(expected)
    names = np.unique(first)
    pairs = np.bincount(size * names.searchsorted(first) + names.searchsorted(second), minlength=size * size)
    product = n * np.outer(expected, expected).ravel() / expected.sum() ** 2
    assert ((pairs - product) ** 2 / product).sum() < 37.7  # 15 degrees of freedom, p = 0.001
