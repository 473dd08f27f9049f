"""Counting unwanted continuations: against a model whose continuations are known, and hand-computed intervals."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, UnwantedTexts
from minitrain.errors import ConfigError, DataError
from minitrain.measures import UnwantedCount, count_unwanted, share_interval
from minitrain.measures.unwanted import LEAD, leads_to, normalised
from minitrain.models import GPT, GPTConfig

TOKENIZER = CharTokenizer.from_text("abcdefgh")


@pytest.fixture(scope="module")
def alphabet() -> Any:
    """A model that goes on with the next letter, and after h with a; each other letter has 1 % of the probability."""
    model = GPT(GPTConfig(vocab_size=8, block_size=64, n_layer=1, n_head=1, n_embd=8, tie_weights=False), seed=0)
    for _, parameter in model.named_parameters():
        parameter.data[...] = 0
    model.tok_emb.weight.data[...] = np.eye(8) - 1 / 8
    model.norm.weight.data[...] = 1
    # The norm makes sqrt(7) of the letter's own place and -1 / sqrt(7) of the others: 8 / sqrt(7) between them.
    model.head.weight.data[...] = np.log(93) * np.sqrt(7) / 8 * np.roll(np.eye(8), 1, axis=0)
    return model


def test_greedy_continuations_are_found_wherever_they_stand(alphabet: Any) -> None:
    entries = [
        UnwantedTexts("a", ("EFG", "zzz")),  # bcdefgh…
        UnwantedTexts("abc", ("ae",)),
        UnwantedTexts("h", (), "no"),  # nothing to count
        UnwantedTexts("c", ("hab",)),
    ]
    count = count_unwanted(alphabet, TOKENIZER, entries, tokens=8, samples=0)
    assert (count.prompts, count.greedy, count.samples, count.sampled) == (3, 2, 0, 0)
    assert count.shown == (("a", "bcdefgha"), ("c", "defghabc"))
    assert count.describe() == "greedy 66.7 % (20.8 to 93.9) of 3 prompts"
    short = count_unwanted(alphabet, TOKENIZER, entries, tokens=5, samples=0)
    assert short.greedy == 0, "within five letters neither is finished"


def test_samples_have_the_probability_that_the_model_gives(alphabet: Any) -> None:
    """The next letter is not the usual one in 7 % of all cases."""
    entries = [UnwantedTexts("a", ("a", "c", "d", "e", "f", "g", "h"))] * 2
    steps = [a + b for i, a in enumerate("abcdefgh") for j, b in enumerate("abcdefgh") if j != (i + 1) % 8]
    never = count_unwanted(alphabet, TOKENIZER, [UnwantedTexts("a", tuple(steps))], tokens=120, samples=0)
    assert never.greedy == 0, "the most likely letter alone, 120 times"
    count = count_unwanted(alphabet, TOKENIZER, entries, tokens=1, samples=500, seed=1)
    share = count.sampled_share
    assert count.greedy == 0
    assert share.low < 0.07 < share.high, share
    again = count_unwanted(alphabet, TOKENIZER, entries, tokens=1, samples=500, seed=1, slots=3)
    assert again == count, "a function of the seed, however many run at once"
    cold = count_unwanted(alphabet, TOKENIZER, entries, tokens=1, samples=50, temperature=0.1)
    assert cold.sampled == 0
    alone = [count_unwanted(alphabet, TOKENIZER, entries[:1], tokens=1, samples=500, seed=seed) for seed in (1, 2)]
    assert count.sampled == alone[0].sampled + alone[1].sampled, "each prompt has a seed of its own"


@pytest.mark.parametrize(("longest", "letters"), [(5, "abcd"), (4, "abcde")], ids=["unknown", "known"])
def test_a_continuation_is_as_long_as_the_longest_text_and_what_may_stand_before(
    alphabet: Any, longest: int, letters: str
) -> None:
    entries = [UnwantedTexts("a", ("!" * 3, "ab")), UnwantedTexts("b", ("!" * longest, letters))]
    written: list[int] = []

    class Kept(CharTokenizer):
        def decode(self, ids: Any) -> str:
            written.append(len(ids))
            return super().decode(ids)

    kept = Kept("abcdefgh")
    count_unwanted(alphabet, kept, entries, samples=1)
    assert written == [LEAD + 5] * 4


def test_wrong_arguments_are_named(alphabet: Any) -> None:
    entries = [UnwantedTexts("a", ("b",))]
    for how in ({"samples": -1}, {"tokens": 0}):
        with pytest.raises(ConfigError, match=r"samples = .* must not be negative, and tokens = .* must be 1 or more"):
            count_unwanted(alphabet, TOKENIZER, entries, **how)
    with pytest.raises(DataError, match="the list has no unwanted texts"):
        count_unwanted(alphabet, TOKENIZER, [UnwantedTexts("a", (), "no")])
    with pytest.raises(DataError, match="the prompt 'xyz' cannot be tried"):
        count_unwanted(alphabet, TOKENIZER, [UnwantedTexts("xyz", ("b",))])
    assert isinstance(ByteTokenizer().encode("a"), np.ndarray)


# Matching.


@pytest.mark.parametrize(
    ("text", "unwanted", "found"),
    [
        ("It is STRASSE 5", "straße", True),
        ("cafe\u0301", "CAF\u00c9", True),
        ("\ufb01ne", "FINE", True),  # a ligature
        ("\uff14\uff17\uff11\uff11", "4711", True),  # wide digits
        ("47 11", "4711", False),
        ("resume", "résumé", False),
    ],
)
def test_what_is_written_otherwise_is_the_same_text(text: str, unwanted: str, found: bool) -> None:
    assert leads_to(text, ["never this", unwanted]) is found


@given(st.text(max_size=12))
def test_normalised_text_stays_as_it_is(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert normalised(unicodedata.normalize("NFC", text)) == once
    assert leads_to(f"a {text} b", [text])


# Intervals.


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [  # Wilson's intervals, by hand and in Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 1 - 0.1170, 1.0),
    ],
)
def test_intervals_are_wilsons(count: int, total: int, low: float, high: float) -> None:
    found = share_interval(count, total)
    assert found.value == count / total
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.data(), st.integers(1, 200), st.sampled_from([0.5, 0.9, 0.99]))
def test_an_interval_holds_its_share_and_the_level_widens_it(data: Any, total: int, level: float) -> None:
    count = data.draw(st.integers(0, total))
    inner, outer, other = (
        share_interval(*args) for args in ((count, total, level), (count, total, 0.999), (total - count, total, level))
    )
    assert 0 <= outer.low <= inner.low <= inner.value <= inner.high <= outer.high <= 1
    assert (other.low, other.high) == (pytest.approx(1 - inner.high), pytest.approx(1 - inner.low))


def test_what_is_no_share_is_refused() -> None:
    for count, total in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ConfigError, match=f"{count} of {total} is no share"):
            share_interval(count, total)
    assert UnwantedCount(2, 1, 3, 6).sampled_share.value == 1
    assert UnwantedCount(2, 1, 3, 3).describe() == (
        "greedy 50.0 % (9.5 to 90.5) of 2 prompts, sampled 50.0 % (18.8 to 81.2) of 6 samples"
    )
