"""Filters: block-lists, languages, quality, the evaluation set."""

from __future__ import annotations

import builtins
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data.hygiene import Blocklist, Finding, HeldOut, Language, NearDuplicates, Quality, language
from minitrain.data.hygiene.language import _identifier
from minitrain.data.hygiene.quality import _letters_of_repeated, _letters_of_the_most_frequent
from minitrain.errors import ConfigError, DataError

WORDS = st.lists(st.sampled_from(["ab", "ba", "c", "aa", "b"]), min_size=1, max_size=12)
ENGLISH = "The committee met on Tuesday to discuss the new library, and most of its members were in favour of it."
GERMAN = "Der Ausschuss traf sich am Dienstag, um über die neue Bücherei zu sprechen, und die meisten waren dafür."


# Block-lists


@settings(max_examples=30)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=4))
def test_whole_words_in_a_row_are_found(text: list[str], phrases: list[list[str]]) -> None:
    def inside(phrase: list[str]) -> int:
        return sum(text[start : start + len(phrase)] == phrase for start in range(len(text)))

    found = Blocklist.of(map(" ".join, phrases), "list")(", ".join(text).upper())
    lines = [number for number, phrase in enumerate(phrases, 1) if inside(phrase)]
    different = {tuple(phrase) for phrase in phrases}
    if lines:
        assert found == Finding(f"line {lines[0]} of list", {"matches": sum(inside(list(one)) for one in different)})
    else:
        assert found is None


def test_case_and_forms_of_letters_do_not_matter_and_parts_of_words_are_no_words() -> None:
    blocked = Blocklist.of(["straße", "", "rock'n'roll", "हिन्दी", "Fi"])
    assert blocked.entries == 4
    for text in ("STRASSE", "Rock ’n’ Roll", "हिन्दी!", "ﬁ", "ｆｉ"):
        assert blocked(text), text
    for text in ("strassen", "rock roll", "fin", ""):
        assert blocked(text) is None, text


def test_a_list_names_its_lines_in_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfgood word\n\nc++\n")
    with pytest.raises(ConfigError, match=r"line 3 of .*list.txt has signs that are no letters or digits"):
        Blocklist.read(file)
    file.write_bytes(b"\xef\xbb\xbfgood word\n\n")
    finding = Blocklist.read(file)("a Good-Word")
    assert finding is not None
    assert finding.rule == f"line 1 of {file}"
    with pytest.raises(ConfigError, match=r"line 2 of the list has signs"):
        Blocklist.of(["good", "\u0301", "-"])
    file.write_bytes(b"\n \n")
    with pytest.raises(ConfigError, match="has no words in it"):
        Blocklist.read(file)
    file.write_bytes(b"\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        Blocklist.read(file)
    with pytest.raises(DataError, match=r"cannot read .*none"):
        Blocklist.read(tmp_path / "none")


# Languages


def test_other_languages_are_found_and_short_texts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("py3langid")
    english = Language(("en",))
    assert english(ENGLISH) is None
    finding = english(GERMAN)
    assert finding is not None
    assert finding.rule == "de"
    assert finding.detail["probability"] > 0.5 > finding.detail["wanted"]
    likely = dict(_identifier().rank(GERMAN))
    assert finding.detail == {"probability": round(likely["de"], 4), "wanted": round(likely["en"], 4)}
    with monkeypatch.context() as patch:
        ranks = [("de", 0.8765432), ("en", 0.1234568)]
        patch.setattr(language, "_identifier", lambda: SimpleNamespace(labels=["en"], rank=lambda text: ranks))
        assert english(GERMAN) == Finding("de", {"probability": 0.8765, "wanted": 0.1235})
    assert Language(("en", "de"))(GERMAN) is None
    assert english("Guten Tag") is None
    assert Language(("en",), min_letters=5)("Guten Tag, meine Damen") is not None
    assert Language(("de",), min_probability=0.0)(ENGLISH) is None
    for letters in (84, 85, 86):
        assert (Language(("en",), min_letters=letters)(GERMAN) is None) == (sum(map(str.isalpha, GERMAN)) < letters)


def test_unknown_languages_are_named() -> None:
    pytest.importorskip("py3langid")
    with pytest.raises(ConfigError, match="unknown language 'eng': did you mean 'en'"):
        Language(("eng",))
    with pytest.raises(ConfigError, match="at least one"):
        Language(())
    with pytest.raises(ConfigError, match=r"min_probability=1.5"):
        Language(("en",), min_probability=1.5)
    with pytest.raises(ConfigError, match=r"min_probability=-0.5"):
        Language(("en",), min_probability=-0.5)
    assert Language(("en",), min_probability=1.0).min_probability == 1


# Quality

WITHOUT_LIMITS: dict[str, float] = {
    "min_words": 0,
    "min_word_length": 0,
    "max_word_length": 1e9,
    "min_letters": 0,
    "max_symbols": 1e9,
    "max_bullets": 1,
    "max_ellipses": 1,
    "max_repeated_lines": 1,
    "max_repeated_line_letters": 1,
    "max_repeated_ngrams": 1e9,
}


def broken(text: str, **limit: float) -> Finding | None:
    """What a text breaks where there is one limit only."""
    return Quality(**(WITHOUT_LIMITS | limit))(text)


@pytest.mark.parametrize(
    ("text", "limit", "rule", "value"),
    [
        ("one two three", {"min_words": 4}, "words", 3),
        ("one two three", {"max_words": 2}, "words", 3),
        ("ab abcd", {"min_word_length": 3.5}, "word length", 3),
        ("ab abcd", {"max_word_length": 2.5}, "word length", 3),
        ("ab 12 -- c3", {"min_letters": 0.6}, "words with letters", 0.5),
        ("# a … b... c #", {"max_symbols": 0.5}, "symbols", 4 / 6),
        ("- a\n* b\n\n c", {"max_bullets": 0.6}, "lines with bullets", 2 / 3),
        ("a…\nb...\nc", {"max_ellipses": 0.6}, "lines with ellipses", 2 / 3),
        ("ab\nc\n ab \nab", {"max_repeated_lines": 0.4}, "repeated lines", 0.5),
        ("ab\nc\n ab \nab", {"max_repeated_line_letters": 0.5}, "letters in repeated lines", 4 / 7),
        ("ab c ab c x ab c", {"max_repeated_ngrams": 1}, "most frequent 2-gram", 0.9),
    ],
)
def test_each_rule(text: str, limit: dict[str, float], rule: str, value: float) -> None:
    finding = broken(text, **limit)
    assert finding is not None
    assert finding.rule == rule
    assert finding.detail["value"] == pytest.approx(value, abs=1e-4)
    assert broken(text) is None
    (name, high), *_ = limit.items()
    if name != "max_repeated_ngrams":
        assert finding.detail["limit"] == high
        assert broken(text, **{name: value}) is None  # the limit itself is allowed


def test_repeated_ngrams_count_each_place_once() -> None:
    again, others = list("abcdefg"), [f"w{number}" for number in range(20)]
    parts = [*again, *others, *again]
    assert [_letters_of_repeated(parts, size) for size in (3, 5, 7, 8)] == [6, 5, 7, 0]
    assert _letters_of_repeated(["ab"] * 6, 2) == 8
    twice = [f"w{number}" for number in range(10, 30)]
    finding = broken(" ".join([*twice, *map(str, range(100, 120)), *twice]), max_repeated_ngrams=1)
    assert finding == Finding("repeated 5-grams", {"value": round(1 / 3, 4), "limit": 0.15})
    finding = broken(" ".join([*twice, *map(str, range(100, 120)), *twice]), max_repeated_ngrams=2)
    assert finding == Finding("repeated 5-grams", {"value": round(1 / 3, 4), "limit": 0.3})


def test_the_most_frequent_ngram_covers_most_letters() -> None:
    """Without the spaces in it; one that comes once is none."""
    assert _letters_of_the_most_frequent(["ab", "cde", "ab", "cde", "f"], 2) == 2 * 5
    assert _letters_of_the_most_frequent(["a", "b", "a", "b", "a", "b", "long", "word", "long", "word"], 2) == 2 * 8
    assert _letters_of_the_most_frequent(["ab", "cde"], 2) == _letters_of_the_most_frequent([], 2) == 0


def test_of_nothing_there_is_no_share() -> None:
    assert Quality(min_words=0)("") == Finding("word length", {"value": 0.0, "limit": 3})


@settings(max_examples=20)
@given(st.text(max_size=60))
def test_prose_of_any_kind_has_an_answer(text: str) -> None:
    finding = Quality()(text)
    assert finding is not None  # it has fewer than 50 words
    assert finding.rule == "words"
    broken(text, max_repeated_ngrams=0)


def test_ordinary_prose_stays() -> None:
    assert Quality(min_words=10)(f"{ENGLISH} Nobody had expected that, least of all the mayor.") is None
    with pytest.raises(ConfigError, match="min_words=-1"):
        Quality(min_words=-1)
    with pytest.raises(ConfigError, match="max_bullets=nan"):
        Quality(max_bullets=float("nan"))


def test_a_long_text_takes_no_long_time() -> None:
    begin = time.process_time()
    broken("# … - a\n" * 5_000)
    assert time.process_time() - begin < 5


# The evaluation set


@settings(max_examples=40)
@given(WORDS, WORDS, st.integers(1, 4))
def test_a_shared_run_of_words_is_found(text: list[str], held: list[str], size: int) -> None:
    def runs(parts: list[str]) -> list[tuple[str, ...]]:
        return [tuple(parts[start : start + size]) for start in range(len(parts) - size + 1)]

    finding = HeldOut.of(["x " * 20, " ".join(held)], ngram=size)("! ".join(text).upper())
    shared = [run for run in runs(text) if run in runs(held)]
    if shared:
        detail = {"shared": len(shared), "of": len(runs(text)), "held_out": 2}
        assert finding == Finding(f"{size} words", detail)
    else:
        assert (finding is not None) == (len(text) < size and text == held)


def test_held_out_files_are_read_and_their_mistakes_named(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"q": "one two three", "a": "four"}\n{"q": "five six seven", "a": "eight"}\n')
    held = HeldOut.read(file, ngram=3)
    assert (held.texts, held.names) == (2, (str(file),))
    assert held("zero five six seven") == Finding("3 words", {"shared": 1, "of": 2, "held_out": 2})
    assert held("two three four") is not None
    assert HeldOut.read(file, ngram=3, columns=["q"])("two three four") is None
    assert "_found_in" not in repr(held)
    file.write_text('{"q": "one"}\n{\n')
    with pytest.raises(DataError, match=r"test.jsonl:2 of the held-out texts is broken: not JSON"):
        HeldOut.read(file)
    with pytest.raises(DataError, match=r"no words in the held-out texts$"):
        HeldOut.of(["!"])
    with pytest.raises(DataError, match=r"no words in the held-out texts of a\.txt, b\.txt$"):
        HeldOut.of(["!"], names=("a.txt", "b.txt"))
    assert HeldOut.of(["hello"])("Hello!") == Finding("13 words", {"shared": 1, "of": 1, "held_out": 1})
    with pytest.raises(ConfigError, match="ngram=0"):
        HeldOut.of(["a"], ngram=0)


# Packages


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("datasketch", lambda: NearDuplicates()),
        ("py3langid", lambda: Language(("en",))),
        ("stdnum", lambda: __import__("minitrain").data.hygiene.PersonalData(kinds=("card",))),
        ("phonenumbers", lambda: __import__("minitrain").data.hygiene.PersonalData(kinds=("phone",))),
    ],
)
def test_a_package_that_is_not_installed_is_named(package: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from minitrain.data.hygiene import filters, kinds, language

    def absent(name: str) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return builtins.__import__(name)

    language._identifier.cache_clear()
    kinds._stdnum.cache_clear()
    monkeypatch.setattr(filters.importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"pip install 'minitrain\[clean\]'"):
        make()
