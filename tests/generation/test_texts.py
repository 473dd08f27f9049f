"""Texts in and out: the samples of `batch_generate`, decoded, up to a stop string."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, PretrainedTokenizer
from minitrain.errors import ConfigError, DataError
from minitrain.generation import (
    SamplingParams,
    batch_generate,
    continue_text,
    generate,
    generate_text_sampling,
    sample_text,
)
from minitrain.random import Key
from tests.helpers.plain_generation import PlainModel
from tests.helpers.texts.tokenizers_of_others import described

LETTERS = CharTokenizer("abcdefghijk")
SPACED: Any = PretrainedTokenizer(described("sentencepiece-like"))
MODEL = PlainModel(11, 6)
PARAMS = SamplingParams(max_new_tokens=15, temperature=3)


def test_texts_are_the_decoded_samples() -> None:
    params = [replace(PARAMS, num_samples=2), replace(PARAMS, seed=4)]
    texts = generate_text_sampling(MODEL, LETTERS, ["abc", "k"], params, slots=2)
    results = batch_generate(MODEL, [LETTERS.encode("abc"), LETTERS.encode("k")], params)
    assert texts == [[LETTERS.decode(sample.tokens) for sample in result.samples] for result in results]
    assert [[len(text) for text in each] for each in texts] == [[15, 15], [15]]


@given(seed=st.integers(0, 300), stop=st.lists(st.text("abcd", min_size=1, max_size=2), min_size=1, max_size=2))
def test_a_text_ends_before_its_stop_string(seed: int, stop: list[str]) -> None:
    params = replace(PARAMS, seed=seed)
    ((whole,),) = generate_text_sampling(MODEL, LETTERS, ["a"], params)
    ((text,),) = generate_text_sampling(MODEL, LETTERS, ["a"], replace(params, stop=stop))
    starts = [place for string in stop if (place := whole.find(string)) >= 0]
    assert text == whole[: min(starts, default=None)]


def test_a_stop_string_across_the_bytes_of_characters() -> None:
    text = "ab€é!"
    forced = dict(enumerate(text.encode()))
    params = SamplingParams(max_new_tokens=len(forced), forced_tokens=forced, stop="€é")
    ((written,),) = generate_text_sampling(PlainModel(256, 20), ByteTokenizer(), ["x"], params)
    assert written == "ab"
    (result,) = batch_generate(PlainModel(256, 20), [[1]], replace(params, stop=()))
    assert ByteTokenizer().decode(result.tokens) == text


@given(least=st.integers(0, 6), again=st.integers(0, 6))
def test_a_stop_string_that_was_overlooked_does_not_cut_the_text(least: int, again: int) -> None:
    """The text ends before the first stop string that begins in the last of ``min_new_tokens`` tokens or later."""
    letters = list("bcbcbc")
    letters[again:again] = "d"
    forced = dict(enumerate(LETTERS.encode("".join(letters)).tolist()))
    params = SamplingParams(max_new_tokens=7, min_new_tokens=least, forced_tokens=forced, stop="bc")
    (result,) = batch_generate(MODEL, [[0]], replace(params, stop=()))
    ((text,),) = generate_text_sampling(MODEL, LETTERS, ["a"], params)
    whole = LETTERS.decode(result.samples[0].tokens)
    assert whole == "".join(letters)
    start = whole.find("bc", max(0, least - 1))
    assert text == (whole[:start] if start >= 0 else whole)


def test_a_stop_token_is_no_text() -> None:
    forced = dict(enumerate(LETTERS.encode("abcd").tolist()))
    stop = LETTERS.encode("c").tolist()
    params = SamplingParams(max_new_tokens=4, forced_tokens=forced, stop_token_ids=stop)
    assert generate_text_sampling(MODEL, LETTERS, ["a"], params) == [["ab"]]
    # A string that is complete ends the text; the token ends the wait for a longer one, and is not part of any.
    for strings, text in ((["b", "abcd"], "a"), (["bc"], "ab"), (["abc"], "ab")):
        assert generate_text_sampling(MODEL, LETTERS, ["a"], replace(params, stop=strings)) == [[text]]


def test_one_text_with_the_usual_settings() -> None:
    text = sample_text(MODEL, LETTERS, "abc", 20, temperature=2, top_k=8, top_p=0.9, seed=3)
    params = SamplingParams(max_new_tokens=20, temperature=2, top_k=8, top_p=0.9, seed=3)
    assert text == generate_text_sampling(MODEL, LETTERS, ["abc"], params)[0][0]
    assert sample_text(MODEL, LETTERS, "abc", 20, temperature=2, seed=4) != text
    assert len(sample_text(MODEL, LETTERS, "abc")) == 128
    assert len({sample_text(MODEL, LETTERS, "a", 30, temperature=3, seed=None) for _ in range(5)}) == 5


@given(seeds=st.lists(st.integers(0, 300), min_size=1, max_size=3), banned=st.sets(st.integers(0, 9)))
def test_tokens_without_text_are_not_written(seeds: list[int], banned: set[int]) -> None:
    """A model may have more tokens than its tokenizer; those that the settings ban are banned too."""
    model, prompts = PlainModel(14, 6), ["a"] * len(seeds)
    allowed = sorted({*range(11)} - banned)
    params = [replace(PARAMS, seed=seed, suppress_tokens=tuple(banned)) for seed in seeds]
    texts = generate_text_sampling(model, LETTERS, prompts, params)
    assert {letter for (text,) in texts for letter in text} <= {LETTERS.decode([token]) for token in allowed}
    for one in (None, params[0]):
        shared = generate_text_sampling(model, LETTERS, prompts, one)
        assert shared == generate_text_sampling(model, LETTERS, prompts, [one or SamplingParams()] * len(prompts))
    assert generate_text_sampling(model, LETTERS, ["a"], params[0]) == texts[:1]
    assert generate_text_sampling(model, LETTERS, ["a"], replace(PARAMS, max_new_tokens=0)) == [[""]]


@given(seed=st.integers(0, 300), new=st.integers(0, 9))
def test_a_continued_text_goes_on_after_its_prompt(seed: int, new: int) -> None:
    """The first space of the new text too, which SentencePiece leaves out at the beginning of a text."""
    key = Key.from_seed(seed)
    for tokenizer, prompt in ((LETTERS, "abc"), (SPACED, "hello")):
        model, tokens = PlainModel(tokenizer.vocab_size, 6), tokenizer.encode(prompt)
        (whole,) = generate(model, tokens[None], new, temperature=2, key=key)
        text = continue_text(model, tokenizer, prompt, new, temperature=2, key=key)
        assert prompt + text == tokenizer.decode(whole)


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="top_k=0"):
        sample_text(MODEL, LETTERS, "a", top_k=0)
    with pytest.raises(DataError):
        sample_text(MODEL, LETTERS, "z")
