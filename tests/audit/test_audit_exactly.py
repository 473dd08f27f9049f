"""The audit's numbers against plain computations, at the smallest sizes too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain.audit import auc_interval, exposures, extract, membership
from minitrain.audit import exposure as exposure_file
from minitrain.audit import extraction as extraction_file
from minitrain.audit.membership import found_at
from minitrain.data import ByteTokenizer, make_canaries
from minitrain.data.tokens import canaries as canaries_file
from minitrain.data.tokens.canaries import Canary, plant, random_secrets
from minitrain.errors import ConfigError, DataError
from minitrain.models import GPT, GPTConfig
from minitrain.random import Key, random_bits
from tests.audit.test_audit import Remembering
from tests.helpers.decoding.tiny_language_models import TableModel

BYTES = ByteTokenizer()
TEXT = np.random.default_rng(0).integers(0, 11, 60)


class Asked:
    """Notes what is asked of `batch_generate`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        self.calls: list[tuple[list[list[int]], Any]] = []
        generate = module.batch_generate

        def noted(model: Any, prompts: Any, params: Any, **options: Any) -> Any:
            self.calls.append(([np.asarray(prompt).tolist() for prompt in prompts], params))
            return generate(model, prompts, params, **options)

        monkeypatch.setattr(module, "batch_generate", noted)


# Exposure.


def test_no_canary_has_no_exposure_and_one_other_secret_is_enough() -> None:
    nothing = Remembering(np.arange(5), BYTES.vocab_size)
    assert exposures(nothing, BYTES, []) == []
    (one,) = exposures(nothing, BYTES, make_canaries(1, Key.from_seed(0)), others=1, samples=0)
    assert (one.rank, one.among, one.samples) == (2, 2, 0)
    with pytest.raises(DataError, match="others = 0 must be 1 or more"):
        exposures(nothing, BYTES, make_canaries(1, Key.from_seed(0)), others=0)


def test_a_canary_is_not_compared_with_itself() -> None:
    """And with as many others as any, although it was drawn among them."""
    drawn = random_secrets(3, Key.from_seed(7).fold("others"))
    nothing = Remembering(np.arange(5), BYTES.vocab_size)
    for secret in drawn[:2]:
        (found,) = exposures(nothing, BYTES, [Canary("code ", secret)], others=2, samples=0, seed=7)
        assert (found.rank, found.among) == (3, 3)  # all are equally likely


def test_each_canary_has_samples_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, exposure_file)
    canaries = make_canaries(3, Key.from_seed(0))
    exposures(Remembering(np.arange(5), BYTES.vocab_size), BYTES, canaries, others=3, samples=2, seed=5)
    ((prompts, params),) = asked.calls
    assert prompts == [np.asarray(BYTES.encode(one.prefix)).tolist() for one in canaries]
    assert [one.seed for one in params] == [5, 6, 7]
    assert {(one.temperature, one.num_samples, one.max_new_tokens) for one in params} == {(1.0, 2, 8)}


# Extraction.


@pytest.mark.parametrize("size", [6, 7, 60])
def test_prefixes_are_anywhere_in_the_text(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """In one that is just long enough, too."""
    asked, model = Asked(monkeypatch, extraction_file), TableModel(11, seed=3)
    found = extract(model, TEXT[:size], attempts=9, prefix=4, length=2, samples=3, temperature=0.7, seed=5)
    words = random_bits(Key.from_seed(5).fold("places"), (1, 9))[0].tolist()
    places = [word * (size - 6 + 1) // 2**32 for word in words]
    assert all(0 <= place <= size - 6 for place in places)
    (prompts, greedy), (again, drawn) = asked.calls
    assert prompts == again == [TEXT[place : place + 4].tolist() for place in places]
    assert (greedy.temperature, greedy.max_new_tokens, greedy.num_samples) == (0, 2, 1)
    assert [one.seed for one in drawn] == list(range(5, 14))
    assert {(one.temperature, one.max_new_tokens, one.num_samples) for one in drawn} == {(0.7, 2, 3)}
    assert (found.attempts, found.prefix, found.length, found.samples) == (9, 4, 2, 3)


def test_greedy_and_sampled_attempts_are_counted_apart() -> None:
    """A model that is even about all tokens writes the first one greedily, and any in a sample."""
    even = Remembering(np.arange(5), 2)
    text = np.array([1, 1, 1, 0, 1] * 8)
    found = extract(even, text, attempts=40, prefix=1, length=1, samples=16)
    zeros = sum(text[1 + word * 39 // 2**32] == 0 for word in places_of(40))
    assert found.greedy == zeros and found.mean_match == zeros / 40
    assert found.sampled == 40
    none = extract(even, text, attempts=1, prefix=1, length=1, samples=0)
    assert (none.attempts, none.prefix, none.length, none.sampled, none.samples) == (1, 1, 1, 0, 0)


def places_of(attempts: int) -> list[int]:
    words: list[int] = random_bits(Key.from_seed(0).fold("places"), (1, attempts))[0].tolist()
    return words


def test_a_text_that_is_too_short_by_one_is_refused() -> None:
    with pytest.raises(DataError, match="a text of 5 tokens is too short for 4 tokens and 2 to follow"):
        extract(TableModel(11), TEXT[:5], prefix=4, length=2)


# Membership.


def losses_of(model: GPT, text: np.ndarray[Any, Any], T: int) -> np.ndarray[Any, Any]:
    """The mean loss of each window, from the logits, in float64."""
    found = []
    for start in range(0, (len(text) - 1) // T * T, T):
        logits = model.forward(text[None, start : start + T].astype(np.int32))[0][0].astype(np.float64)  # (T, V)
        aims = text[start + 1 : start + T + 1]
        found.append((np.log(np.exp(logits).sum(1)) - logits[np.arange(T), aims]).mean())
    return np.array(found)


@pytest.fixture
def model() -> GPT:
    return GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=4)


def test_membership_is_that_of_the_mean_losses_of_all_windows(model: GPT) -> None:
    draw = np.random.default_rng(1)
    train, held_out = draw.integers(0, 11, 100), draw.integers(0, 4, 61)
    found = membership(model, train, held_out, 8, windows=10**6, batch_size=5, false_alarms=0.2)
    inside, outside = losses_of(model, train, 8), losses_of(model, held_out, 8)
    assert (found.train_windows, found.held_out_windows) == (12, 7)
    assert found.train_loss == pytest.approx(inside.mean(), rel=1e-5)
    assert found.held_out_loss == pytest.approx(outside.mean(), rel=1e-5)
    expected = auc_interval(-inside, -outside)
    assert (found.auc.value, found.auc.low, found.auc.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert 0 < expected.value < 1
    assert found.found == found_at(-inside, -outside, 0.2) > 0
    assert found.false_alarms == 0.2


def test_few_windows_are_the_first_of_a_random_order(model: GPT) -> None:
    every = losses_of(model, TEXT, 8)
    found = membership(model, TEXT, TEXT, 8, windows=3, seed=2)
    for loss, part in ((found.train_loss, "train"), (found.held_out_loss, "held out")):
        order = np.argsort(random_bits(Key.from_seed(2).fold(part), (1, 7))[0], kind="stable")
        assert loss == pytest.approx(every[order[:3]].mean(), rel=1e-5)


def test_two_windows_are_enough_and_one_is_not(model: GPT) -> None:
    assert membership(model, TEXT[:17], TEXT[:17], 8).train_windows == 2
    with pytest.raises(DataError, match="a text of 16 tokens has fewer than two windows of 8"):
        membership(model, TEXT, TEXT[:16], 8)


@pytest.mark.parametrize("wrong", [([0.0, 1.0], [1.0]), ([0.0, 1.0], [math.nan, 1.0])])
def test_scores_that_have_no_auc_are_refused_on_both_sides(wrong: Any) -> None:
    with pytest.raises(DataError, match="an AUC needs"):
        auc_interval(*map(np.array, wrong))


# Canaries.


def test_canaries_are_the_same_for_ever() -> None:
    """A run keeps only their key."""
    assert random_secrets(3, Key.from_seed(0)) == ["45494933", "75084549", "62403634"]
    assert [one.secret for one in make_canaries(2, Key.from_seed(0))] == ["91041951", "09719756"]
    assert make_canaries(0, Key.from_seed(0)) == []


def test_half_of_the_secrets_can_be_drawn_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries_file, "DIGITS", 1)
    key = Key.from_seed(0)
    assert random_secrets(5, key) == in_rounds(5, key)
    with pytest.raises(ConfigError, match="too few secrets of 1 digits to draw 6 different ones"):
        random_secrets(6, key)
    monkeypatch.setattr(canaries_file, "DIGITS", 2)
    with pytest.raises(ConfigError, match="too few secrets of 2 digits to draw 51 different ones"):
        random_secrets(51, key)


def in_rounds(count: int, key: Key) -> list[str]:
    """The first ``count`` different digits of as many rounds of ``count`` draws as it takes."""
    found: list[str] = []
    for draw in range(99):
        high, low = random_bits(key.fold(draw), (1, 2 * count))[0].reshape(count, 2).T.tolist()
        for one, other in zip(high, low, strict=True):
            found += {str(((one << 32) | other) % 10)} - set(found)
    return found[:count]


@pytest.mark.parametrize("size", [0, 1, 40])
def test_every_place_between_two_tokens_is_as_likely(size: int) -> None:
    """The ends too: there is one place more than there are tokens."""
    text, key = np.arange(size) + 100, Key.from_seed(3)
    words = random_bits(key.fold("places"), (1, 30))[0].tolist()
    places = [word * (size + 1) // 2**32 for word in words]
    expected: list[int] = []
    for place in range(size + 1):
        for number, chosen in enumerate(places):
            expected += [number // 15] * (chosen == place)
        expected += text[place : place + 1].tolist()
    assert plant(text, [np.array([0]), np.array([1])], 15, key).tolist() == expected
