"""Words and normal forms: what a reader takes for the same is the same, and no text takes long."""

from __future__ import annotations

import time
import unicodedata
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data.hygiene.words import _ranges, comparable, ngrams, normalised, number_of, without_long_marks, words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=50)
@given(TEXTS)
def test_normal_forms_stay_as_they_are_and_forget_case_and_white_space(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert normalised(f"  {text}\n\n") == once
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text))
    assert words(once) == words(text)


@settings(max_examples=50)
@given(TEXTS)
def test_words_are_pieces_of_the_text_in_order_and_have_all_letters_of_it(text: str) -> None:
    found, place, same = words(text), 0, comparable(text)
    for word in found:
        place = same.index(word, place) + len(word)
    assert sum(map(str.isalnum, "".join(found))) == sum(map(str.isalnum, same))
    assert not any(map(str.isspace, "".join(found)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't, DON’T", ["don", "t", "don", "t"]),
        ("snake_case ﬁne Straße", ["snake", "case", "fine", "strasse"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("日本の x1", ["日", "本", "の", "x1"]),
        ("น้ำ", ["น้\u0e4d", "า"]),
        ("e\u0301te\u0301", ["été"]),
        ("x\u0300y", ["x\u0300y"]),  # the first mark of Unicode, on a letter that it makes no other one with
        ("葛\U000e0100城\U000e01ef", ["葛\U000e0100", "城\U000e01ef"]),  # the first and the last variation selector
        ("!!! --", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_characters_in_a_row_are_a_range() -> None:
    expected = r"\U00000001-\U00000003\U00000007-\U00000007\U00000009-\U0000000a"
    assert _ranges([1, 2, 3, 7, 9, 10]) == expected
    assert _ranges([]) == ""


def test_ngrams_and_their_numbers() -> None:
    assert list(ngrams(["a", "b", "c"], 2)) == ["a b", "b c"]
    assert list(ngrams(["a"], 2)) == []
    assert 0 <= number_of("a b") < 1 << 63
    assert number_of("a b") != number_of("a c")
    assert number_of("a b") == int.from_bytes(blake2b(b"a b", digest_size=8).digest(), "big") // 2


@pytest.mark.parametrize("marks", ["\u0315\u0300", "\uff9e\u0300", "\u0344\u0315"])
def test_long_rows_of_marks_take_no_long_time(marks: str) -> None:
    """They would take minutes: Python sorts them by insertion."""
    begin = time.process_time()
    assert words("a" + marks * 30_000)
    assert time.process_time() - begin < 2


@given(st.text(st.sampled_from("a\u0315\u0300\uff9e"), max_size=100))
def test_only_long_rows_of_marks_are_parted(text: str) -> None:
    parted = without_long_marks(text)
    assert parted.replace("\u034f", "") == text
    if len(text) <= 30:
        assert parted == text
    assert all(len(part) <= 31 for part in parted.replace("a", "\u034f").split("\u034f"))
