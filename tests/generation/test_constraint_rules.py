"""Constraints rule by rule, on a library made up for it: what is asked of it, and what becomes of its answers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.backend import to_device, to_numpy
from minitrain.backend.arrays import device_of
from minitrain.errors import ConfigError, DataError
from minitrain.generation.text import constraints, vocabulary
from minitrain.generation.text.constraints import Grammar, Processor, _State
from minitrain.generation.text.vocabulary import Vocabulary, _Tokenizer, end_tokens
from minitrain.testing.cuda.fake import emulated_device


class Matcher:
    """A place in a text that may be any of the tokens 0 to 8; 9 does not fit, and 10 breaks the library."""

    said: Any = ""  # of a grammar
    made: list[Any]
    error = ""
    accepting = stopped = False

    def __init__(self, library: Any = None, grammar: Any = None, **settings: Any) -> None:
        self.given = (library, grammar, settings)
        self.consumed: tuple[int, ...] = ()
        self.copies = 0

    @classmethod
    def validate_grammar(cls, grammar: str, library: Any, **settings: Any) -> Any:
        cls.made = [grammar, library, settings]
        return cls.said

    @staticmethod
    def grammar_from_regex(pattern: str) -> str:
        return f"regex {pattern}"

    @staticmethod
    def grammar_from_json_schema(text: str, overrides: Any) -> str:
        return f"schema {text} {overrides}"

    def is_error(self) -> bool:
        return bool(self.error)

    def get_error(self) -> str:
        return self.error

    def is_accepting(self) -> bool:
        return self.accepting

    def is_stopped(self) -> bool:
        return self.stopped

    def deep_copy(self) -> Matcher:
        self.copies += 1
        copy = Matcher()
        copy.consumed = self.consumed
        return copy

    def consume_token(self, token: int) -> bool:
        if token > 8:
            self.error = "the token does not satisfy the grammar" if token == 9 else "too many states"
            return False
        self.consumed += (token,)
        return True


@pytest.fixture
def matcher(monkeypatch: pytest.MonkeyPatch) -> type[Matcher]:
    """The class that stands for the library's."""

    class One(Matcher):
        pass

    library = SimpleNamespace(LLMatcher=One, LLParserLimits=lambda **limits: limits)
    monkeypatch.setattr(constraints, "guidance", lambda: library)
    return One


def words(size: int = 11, end_ids: tuple[int, ...] = (2,)) -> Any:
    made = Vocabulary.__new__(Vocabulary)
    made.size, made.end_ids, made.library = size, end_ids, "the library"
    made.markers = [*(end_ids or [size])]
    return made


LIMITS = {"max_lexer_states": 50_000, "verbose_errors": False}


@pytest.mark.parametrize("said", ["", None, "WARNING: this is odd"])
def test_a_grammar_is_checked_and_compiled(matcher, said):
    matcher.said = said
    made = Grammar(words(), "x")
    assert (made.vocab_size, made.end_ids) == (11, (2,))
    assert matcher.made == ["x", "the library", {"limits": LIMITS}]
    assert made._start.given == ("the library", "x", {"log_level": 0, "limits": LIMITS})


def test_a_grammar_that_is_not_supported_is_told_in_500_letters(matcher):
    matcher.said = " " + "e" * 600
    with pytest.raises(DataError) as caught:
        Grammar(words(), "x")
    assert str(caught.value) == f"this form of text is not supported: {'e' * 500}"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("a NoExtension b <state> c", constraints._NO_TOKEN),
        (" " + "r" * 400 + "<state>c", f"this form of text cannot be followed: {'r' * 300}"),
        ("limits <state>NoExtension", "this form of text cannot be followed: limits"),
    ],
)
def test_a_grammar_that_cannot_begin_is_told(matcher, error, says):
    matcher.error = error
    with pytest.raises(DataError) as caught:
        Grammar(words(), "x")
    assert str(caught.value) == says


def test_patterns_and_schemas_have_a_largest_size(matcher, monkeypatch):
    monkeypatch.setattr(constraints, "_LARGEST_GRAMMAR", 2)
    assert Grammar.regex("ab", words())._start.given[1] == "regex ab"
    with pytest.raises(DataError, match="the pattern has 3 characters; at most 2 are allowed"):
        Grammar.regex("abc", words())
    form = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    for schema in ({}, "{}"):
        assert Grammar.json_schema(schema, words())._start.given[1] == f"schema {{}} {form}"
    with pytest.raises(DataError, match="the schema has 3 characters; at most 2 are allowed"):
        Grammar.json_schema("{ }", words())


def test_a_prompt_does_not_belong_to_the_text(matcher):
    def own(tokens: Any, logits: Any) -> Any:
        return logits

    grammar = Grammar(words(), "x")
    found = grammar.after([1, 2, 3], own)
    assert (found.grammar, found.prompt, found.own) == (grammar, 3, own)
    assert grammar.after(np.array([1])).own is None


# What comes next.


def processor_of(*, prompt: int = 1, end_ids: tuple[int, ...] = (2,), own: Any = None) -> Processor:
    grammar = Grammar.__new__(Grammar)
    grammar.vocabulary = words(end_ids=end_ids)
    grammar.vocab_size, grammar.end_ids, grammar._start = 11, end_ids, Matcher()
    return Processor(grammar, prompt, own)


def tokens(*ids: int) -> Any:
    return np.array([7, *ids], np.int64)


def test_a_text_goes_on_from_where_it_was():
    one = processor_of()
    start = one.grammar._start
    first = one._state(tokens(1, 2))
    assert (first.matcher.consumed, start.copies, start.consumed) == ((1, 2), 1, ())
    assert first.grammar is one.grammar
    assert one._state(tokens(1, 2)) is first
    longer = one._state(tokens(1, 2, 300 % 9))
    assert (longer.matcher.consumed, start.copies, first.matcher.copies) == ((1, 2, 3), 1, 1)
    assert first.matcher.consumed == (1, 2)
    shorter = one._state(tokens(1))
    assert (shorter.matcher.consumed, start.copies) == ((1,), 2)
    other = one._state(tokens(1, 4))
    assert (other.matcher.consumed, shorter.matcher.copies) == ((1, 4), 1)
    assert one._state(tokens()).matcher.consumed == ()
    assert start.copies == 3
    assert one._state(tokens(5)).matcher.consumed == (5,)
    assert start.copies == 3, "an empty text is a beginning too"


def test_the_states_that_were_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(constraints, "_STATES", 2)
    one = processor_of()
    first, second = one._state(tokens(1)), one._state(tokens(2))
    assert one._state(tokens(1)) is first
    one._state(tokens(3))
    assert len(one._states) == 2
    assert one._state(tokens(1)) is first
    assert one._state(tokens(2)) is not second


def test_a_token_that_does_not_fit_or_breaks_the_library():
    with pytest.raises(DataError, match=r"token 9 does not continue this text.*was the prompt given to after\(\)\?"):
        processor_of()._state(tokens(1, 9, 2))
    with pytest.raises(DataError, match="this form of text cannot be followed: too many states"):
        processor_of()._state(tokens(10))


class Fixed(Processor):
    """The same tokens are allowed everywhere."""

    found: Any

    def _state(self, tokens: Any) -> Any:
        return self.found


def fixed(allowed: list[int], *, finished: bool = False, size: int = 11, own: Any = None) -> Processor:
    usual = processor_of(own=own)
    made = Fixed(usual.grammar, usual.prompt, usual.own)
    made.found = SimpleNamespace(allowed=np.isin(np.arange(size), allowed), finished=finished, complete="maybe")
    return made


@pytest.mark.parametrize("size", [11, 12, 14])
def test_what_is_not_allowed_is_impossible(size):
    """Models may have more tokens than the tokenizer, and there is one more where no token ends a text."""
    logits = np.arange(size, dtype=np.float32) - 5
    before = logits.copy()
    one = fixed([0, 3, 10, 11], size=12)
    found = one(tokens(), logits)
    expected = np.where(np.isin(np.arange(size), [0, 3, 10]), before, -np.inf)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(logits, before)
    assert (one.finished(tokens()), one.complete(tokens())) == (False, "maybe")


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_logits_stay_where_they_are_and_what_they_are(dtype):
    logits = np.arange(11).astype(dtype)
    here = fixed([2, 5])(tokens(), logits)
    assert here.dtype == dtype
    with emulated_device():
        there = fixed([2, 5])(tokens(), to_device(logits, "cuda"))
        assert device_of(there) == "cuda:0"
        assert there.dtype == dtype
        np.testing.assert_array_equal(to_numpy(there), here)


def test_a_function_of_ones_own_gets_tokens_and_logits():
    def own(seen: Any, logits: Any) -> Any:
        assert seen.tolist() == [7, 1]
        return logits + 1

    found = fixed([0], own=own)(tokens(1), np.zeros(11, np.float32))
    assert found.tolist() == [1.0, *[-math.inf] * 10]


def test_nothing_is_allowed():
    for size in (11, 12):
        with pytest.raises(ConfigError, match="the text is complete, and this tokenizer has no token"):
            fixed([11], finished=True, size=12)(tokens(), np.zeros(size, np.float32))
    with pytest.raises(DataError, match="no token continues this text"):
        fixed([])(tokens(), np.zeros(11, np.float32))
    with pytest.raises(ConfigError, match="the model has 10 tokens, the tokenizer 11: they do not fit"):
        fixed([1])(tokens(), np.zeros(10, np.float32))


@pytest.mark.parametrize(
    ("error", "accepting", "stopped", "complete"),
    [
        ("", False, False, False),
        ("", True, False, True),
        ("", False, True, True),
        ("", True, True, True),
        ("e", True, True, False),
        ("e", False, False, False),
    ],
)
def test_where_a_text_may_and_must_end(error, accepting, stopped, complete):
    matcher = Matcher()
    matcher.error, matcher.accepting, matcher.stopped = error, accepting, stopped
    for allowed, finished in (([2], True), ([], True), ([2, 5], False), ([5], False)):
        state = _State(processor_of().grammar, matcher)
        state.__dict__["allowed"] = np.isin(np.arange(11), allowed)
        assert state.complete is complete
        assert state.finished is (complete and finished)


# The vocabulary.

TEXTS = [b"a", b"", b"bc", b"</s>", b"ab", b"\xc3", b"\xa9"]


class Letters:
    """A tokenizer of letters that changes texts with an x."""

    def encode(self, text: str) -> Any:
        if "?" in text:
            raise DataError("no")
        if "x" in text:
            return np.array([0, 0])
        return np.array([{"a": 0, "b": 1, "c": 2}[letter] for letter in text])


def test_the_library_sees_texts_and_special_tokens():
    one = _Tokenizer(None, TEXTS, [3, 0])
    assert (one.eos_token_id, one.bos_token_id, one.special_token_ids) == (3, None, [0, 1, 3])
    assert one.tokens == [b"a", b"<1>", b"bc", b"</s>", b"ab", b"\xc3", b"\xa9"]
    assert one._ids == {b"bc": 2, b"ab": 4, b"\xc3": 5, b"\xa9": 6}
    assert one._longest == 2
    other = _Tokenizer(None, TEXTS, [7])
    assert (other.special_token_ids, other.tokens[7:], other._longest) == ([1, 7], [b"<end>"], 4)
    assert len(_Tokenizer(None, TEXTS, [3, 7]).tokens) == 7  # it stands for the first of the ends alone
    assert _Tokenizer(None, [b""], [1])._longest == 0


def test_a_text_without_a_choice_has_the_tokens_of_the_tokenizer_or_the_longest_that_fit():
    letters = _Tokenizer(Letters(), [b"a", b"b", b"c", b"ab", b"xa", b"?", b"\xc3", b"\xa9"], [8])
    for text, ids in (
        ("abc", [0, 1, 2]),
        (b"abc", [0, 1, 2]),
        ("xa", [4]),  # the tokenizer would say something else
        ("xab", [4, 1]),
        ("ab?", [3, 5]),  # or nothing
        (b"ab\xc3", [3, 6]),  # half a letter
        ("abx", [3]),  # as far as there is a token
        ("x", []),
        ("", []),
    ):
        assert letters(text) == ids
    long = "ab" * vocabulary.FORCED
    assert letters(long) == [0, 1] * (vocabulary.FORCED // 2)
    assert letters("a" * (vocabulary.FORCED - 1) + "é") == [0] * (vocabulary.FORCED - 1), "it is cut in a letter"
    assert letters._longest_tokens(b"aab") == [0, 3]


@pytest.mark.parametrize(
    ("tokenizer", "ends"),
    [
        (SimpleNamespace(end_ids=[4, 2], special_tokens={"<eos>": 1}), (4, 2)),
        (SimpleNamespace(special_tokens={"<eos>": 1}, special_id=lambda name: np.int64(5 + len(name))), (10,)),
        (SimpleNamespace(special_tokens={"<pad>": 1}), ()),
        (SimpleNamespace(), ()),
    ],
)
def test_the_tokens_that_end_a_text(tokenizer, ends):
    assert end_tokens(tokenizer) == ends


def test_a_vocabulary_knows_its_ends(monkeypatch):
    made: list[Any] = []
    library = SimpleNamespace(
        TokenizerWrapper=lambda one: ("wrapped", one),
        LLTokenizer=lambda *found, **more: made.append((found, more)) or 5,
    )
    monkeypatch.setattr(vocabulary, "guidance", lambda: library)
    tokenizer = SimpleNamespace(token_bytes=lambda: TEXTS, end_ids=[6], decode=None)
    for given, ends, markers in ((None, (6,), [6]), ([0, 6], (0, 6), [0, 6]), ([], (), [7])):
        one = Vocabulary(tokenizer, given)
        assert (one.size, one.end_ids, one.markers, one.library) == (7, ends, markers, 5)
        ((kind, wrapped),), more = made.pop()
        assert (kind, more) == ("wrapped", {"eos_token": markers})
        assert (wrapped._tokenizer, wrapped._texts, wrapped.eos_token_id) == (tokenizer, TEXTS, markers[0])
    for wrong, named in (([7], 7), ([-1], -1), ([0, 9, 8], 9)):
        with pytest.raises(ConfigError, match=f"end_ids has {named}, which is not one of the 7 tokens"):
            Vocabulary(tokenizer, wrong)
