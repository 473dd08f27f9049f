"""From logits to a token: the whole distribution under any settings, log-probabilities, and errors."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minitrain.backend import to_device
from minitrain.errors import NonFiniteError, ShapeError, TokenError
from minitrain.generation import SamplingParams, sample_logits
from minitrain.generation.choosing import Chooser, changes_of, cuts_of, float_rows, log_probabilities, weigh
from minitrain.generation.search.distribution import draw
from minitrain.random import Key, uniform, uniform_number
from minitrain.testing.cuda.fake import emulated_device
from tests.helpers.decoding.request_settings import CHANGES, CUTS, SHARES, V, settings_of
from tests.helpers.plain_generation import changed_logits, distribution

LAST = 1 - 2.0**-32  # the largest random number
NO_TOKENS = np.empty(0, np.int32)

ROWS = st.lists(st.floats(-5, 5, width=32), min_size=V, max_size=V, unique=True)
IDS = st.integers(0, V - 1)


@given(
    row=ROWS,
    tokens=st.lists(IDS, min_size=1, max_size=9),
    prompt=st.integers(1, 9),
    params=settings_of(CHANGES) | settings_of(CUTS) | settings_of(CHANGES | CUTS),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_the_distribution_is_that_of_the_settings_one_after_the_other(
    row: list[float], tokens: list[int], prompt: int, params: SamplingParams, dtype: Any
) -> None:
    prompt, n = min(prompt, len(tokens)), 20
    logits = changed_logits(row, tokens, prompt, params)
    assume(max(logits) > -math.inf)
    expected = np.array(distribution(logits, params))
    chooser = Chooser(params)
    history = np.array(tokens, np.int32)
    ids, weights = weigh(chooser.changed(np.array(row, dtype), history, prompt), params.temperature, chooser.cuts)
    shares = np.zeros(V)
    shares[slice(None) if ids is None else ids] = weights / weights.sum()
    assert shares == pytest.approx(expected, abs=1e-5)
    whole = chooser.weights(np.array(row, dtype), history, prompt)
    assert whole.dtype == np.float64
    assert np.array_equal(whole / weights.sum(), shares)
    # Evenly spaced numbers instead of random ones: frequencies are then exact, up to one count a token.
    drawn = [chooser(np.array(row, dtype), history, prompt, (i + 0.5) / n).token for i in range(n)]
    assert np.bincount(drawn, minlength=V) / n == pytest.approx(expected, abs=1.01 / n + 1e-5)
    assert history.tolist() == tokens
    for number in (0.0, LAST):
        assert draw(whole, number) == chooser(np.array(row, dtype), history, prompt, number).token
        assert expected[chooser(np.array(row, dtype), history, prompt, number).token] > 0


@given(row=ROWS, tokens=st.lists(IDS, min_size=1, max_size=9), data=st.data())
def test_greedy_takes_the_most_likely_token_of_the_changed_logits(
    row: list[float], tokens: list[int], data: st.DataObject
) -> None:
    params = data.draw(settings_of(CHANGES))
    greedy = SamplingParams(temperature=0, **{name: getattr(params, name) for name in CHANGES})
    logits = changed_logits(row, tokens, 1, params)
    assume(sorted(logits)[-1] > sorted(logits)[-2] + 1e-4)
    choice = Chooser(greedy)(np.array(row, np.float32), np.array(tokens, np.int32), 1, math.nan)
    assert choice == (int(np.argmax(logits)), None, ())
    weights = Chooser(greedy).weights(np.array(row, np.float32), np.array(tokens, np.int32), 1)
    assert weights.tolist() == np.eye(V)[choice.token].tolist()


@given(
    row=st.lists(st.floats(-6, 6) | st.sampled_from([0.0, 1.0, -math.inf]), min_size=1, max_size=12),
    temperature=st.sampled_from([0.0, 1e-300]) | st.floats(0.2, 5),
    top_k=st.none() | st.integers(1, 14),
    top_p=st.none() | SHARES | st.just(1.0),
    number=st.floats(0, LAST),
)
def test_one_row_is_chosen_as_sample_logits_does(
    row: list[float], temperature: float, top_k: int | None, top_p: float | None, number: float
) -> None:
    assume(max(row) > -math.inf)
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    logits = np.array(row, np.float32)
    token = Chooser(SamplingParams(**settings))(logits, NO_TOKENS, 0, number).token
    assert token == sample_logits(logits[None], uniform=np.array([number]), **settings)[0]


@pytest.mark.parametrize("name", ["top_p", "typical_p"])
def test_what_is_not_asked_for_costs_nothing(name: str) -> None:
    """A penalty of 1, a least length without stop tokens, and a share of the whole change nothing."""
    assert changes_of(SamplingParams(repetition_penalty=1.0, min_new_tokens=2, suppress_tokens=[])) == []
    assert len(changes_of(SamplingParams(repetition_penalty=2.0))) == 1
    assert cuts_of(SamplingParams(min_p=0.0)) == cuts_of(SamplingParams(**{name: 1.0})) == []
    assert len(cuts_of(SamplingParams(**{name: 0.99}))) == 1


@pytest.mark.parametrize("prompt", [1, 3])
def test_stop_tokens_wait_for_the_least_length(prompt: int) -> None:
    """It counts new tokens alone."""
    chooser = Chooser(SamplingParams(stop_token_ids=[1, 3], min_new_tokens=2))
    for new in range(4):
        changed = chooser.changed(np.zeros(V), np.zeros(prompt + new, np.int32), prompt)
        assert np.flatnonzero(changed).tolist() == ([1, 3] if new < 2 else [])


# Log-probabilities.


def possible(params: SamplingParams, new: int) -> list[int]:
    """The tokens that may come after ``new`` new ones, of V whose logits rise."""
    tokens = np.zeros(2 + new, np.int32)
    return np.flatnonzero(Chooser(params).weights(np.arange(V, dtype=np.float32), tokens, 2)).tolist()


def test_a_forced_token_is_the_only_one_at_its_place() -> None:
    params = SamplingParams(forced_tokens={0: 3, 2: 1})
    assert [possible(params, new) for new in range(4)] == [[3], list(range(V)), [1], list(range(V))]


@pytest.mark.parametrize("k", [1, 2, V - 1, V])
def test_the_k_most_likely_tokens_are_possible(k: int) -> None:
    assert possible(SamplingParams(top_k=k), 0) == list(range(V - k, V))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.int32])
def test_logits_become_floats_that_numpy_can_compute_with(dtype: Any) -> None:
    logits = np.arange(6).reshape(2, 3).astype(dtype)
    kept = np.dtype(dtype).kind == "f"
    with emulated_device():
        for found in (float_rows(logits), float_rows(to_device(logits, "cuda"))):
            assert isinstance(found, np.ndarray)
            assert found.dtype == (dtype if kept else np.float32)
            assert found.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert (float_rows(logits) is logits) == kept


def test_log_probabilities_without_any_other_setting() -> None:
    """They are told whatever else is asked for."""
    row = np.array([0.0, 3.0, 1.0, 2.0])
    exact = log_probabilities(row)
    for n, best in ((0, []), (1, [1]), (2, [1, 3])):
        told = Chooser(SamplingParams(temperature=0, logprobs=n))(row, NO_TOKENS, 0, 0.0)
        assert told == (1, exact[1], tuple((token, exact[token]) for token in best))


@given(row=ROWS, n=st.integers(0, 9), data=st.data())
def test_log_probabilities_are_the_model_s_own(row: list[float], n: int, data: st.DataObject) -> None:
    """Of its whole distribution at temperature 1, whatever the settings are."""
    shape = SamplingParams(temperature=data.draw(st.sampled_from([0.0, 0.5])), top_k=2, logit_bias={1: 4.0}, logprobs=n)
    logits = np.array(row, np.float32)
    token, logprob, best = Chooser(shape)(logits, NO_TOKENS, 0, 0.5)
    exact = np.array(row, np.float32).astype(np.float64)
    exact -= math.log(sum(math.exp(x) for x in exact))
    assert logprob == pytest.approx(exact[token], abs=1e-12)
    order = sorted(range(V), key=lambda i: (-logits[i], i))[:n]
    assert [token for token, _ in best] == order
    assert [value for _, value in best] == pytest.approx(exact[order].tolist(), abs=1e-12)
    assert logits.tolist() == np.array(row, np.float32).tolist()
    plain = Chooser(SamplingParams(temperature=shape.temperature, top_k=2, logit_bias={1: 4.0}))
    assert plain(logits, NO_TOKENS, 0, 0.5) == (token, None, ())


def test_log_probabilities_of_large_logits_and_banned_tokens() -> None:
    assert log_probabilities(np.array([1e4, 1e4, -np.inf], np.float32)).tolist() == [-math.log(2)] * 2 + [-math.inf]


# Errors.


@pytest.mark.parametrize("bad", [[math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0], [-math.inf, -math.inf]])
@pytest.mark.parametrize(
    "settings", [{"temperature": 0}, {}, {"logit_bias": {0: 1.0}}, {"logprobs": 0}, {"forced_tokens": {0: 1}}]
)
def test_logits_that_are_damaged(bad: list[float], settings: dict[str, Any]) -> None:
    chooser, says = Chooser(SamplingParams(**settings)), r"the highest logit is (nan|inf|-inf): the model's weights or"
    with pytest.raises(NonFiniteError, match=says):
        chooser(np.array(bad), NO_TOKENS, 0, 0.5)
    with pytest.raises(NonFiniteError, match=says):
        chooser.weights(np.array(bad), NO_TOKENS, 0)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("returned", [-math.inf, math.nan, math.inf])
def test_no_token_is_left(temperature: float, returned: float) -> None:
    own = SamplingParams(temperature=temperature, processor=lambda tokens, logits: np.full_like(logits, returned))
    with pytest.raises(NonFiniteError, match=f"is {returned} after the request's settings: they ban every token, or"):
        Chooser(own)(np.zeros(3), NO_TOKENS, 0, 0.5)
    with pytest.raises(NonFiniteError, match="they ban every token"):
        Chooser(SamplingParams(temperature=temperature, suppress_tokens=[0, 1, 2]))(np.zeros(3), NO_TOKENS, 0, 0.5)


@pytest.mark.parametrize(
    "settings",
    [{"suppress_tokens": [1, 3]}, {"stop_token_ids": [3]}, {"logit_bias": {3: 1.0}}, {"forced_tokens": {0: 3}}],
)
def test_settings_that_name_a_token_outside_the_vocabulary(settings: dict[str, Any]) -> None:
    for function in (Chooser(SamplingParams(**settings)), Chooser(SamplingParams(**settings)).weights):
        with pytest.raises(TokenError, match="the settings name token 3, but the vocabulary has 3 tokens"):
            function(np.zeros(3), NO_TOKENS, 0, *[0.5] * isinstance(function, Chooser))
    Chooser(SamplingParams(**settings))(np.zeros(4), NO_TOKENS, 0, 0.5)


@pytest.mark.parametrize(
    ("returned", "says"), [(np.zeros(2), r"\(2,\)"), (None, "NoneType"), (np.zeros((1, 3)), r"\(1, 3\)")]
)
def test_a_processor_that_returns_something_else(returned: Any, says: str) -> None:
    params = SamplingParams(processor=lambda tokens, logits: returned)
    with pytest.raises(ShapeError, match=f"processor returned {says}.*expected the logits, an array of shape \\(3,\\)"):
        Chooser(params)(np.zeros(3), NO_TOKENS, 0, 0.5)


def test_a_processor_cannot_spoil_what_it_gets() -> None:
    def spoil(tokens: Any, logits: Any) -> Any:
        tokens[:], logits[:] = 0, 0
        return logits

    logits, tokens = np.arange(3.0), np.array([2, 1], np.int32)
    Chooser(SamplingParams(processor=spoil))(logits, tokens, 1, 0.5)
    assert logits.tolist() == [0, 1, 2]
    assert tokens.tolist() == [2, 1]


# Random numbers.


@given(seed=st.integers(0, 2**64 - 1), sample=st.integers(0, 2**40))
def test_one_number_is_that_of_an_array(seed: int, sample: int) -> None:
    key = Key.from_seed(seed).fold("token", 3).at_sample(sample)
    assert uniform_number(key) == uniform(key, (1,))[0]
