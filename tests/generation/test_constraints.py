"""Constraints: whatever the model prefers, the text has the form that was asked for."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache, reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, PretrainedTokenizer, train_bpe_tokenizer
from minitrain.errors import ConfigError, DataError
from tests.helpers.decoding.tiny_language_models import TableModel
from tests.helpers.texts.adversarial import TRAINING
from tests.helpers.texts.tokenizers_of_others import SPECIAL, described

pytest.importorskip("llguidance")
jsonschema = pytest.importorskip("jsonschema")

from minitrain.generation import Grammar, SamplingParams, batch_generate, speculative_generate  # noqa: E402
from minitrain.generation.text.vocabulary import FORCED, Vocabulary  # noqa: E402

LETTERS = "".join(map(chr, range(32, 127))) + "\n"
KINDS = ("char", "byte", "bpe", "smollm", "qwen2", "sentencepiece-like")
PATTERNS = [
    "[a-c]{2,5}[0-9]+",
    "(yes|no|maybe so)",
    "a*",
    "[0-9]{4}-[01][0-9]-[0-3][0-9]",
    "(the |a )?(cat|dog)s? (sat|ran)!{0,3}",
    "x",
    "[^a-z]{3}",
    ".{0,6}end",
    r"[a-z_]+@[a-z]+\.(com|org)",
]
SCHEMAS: list[dict[str, Any]] = [
    {"type": "integer", "minimum": -5, "maximum": 20},
    {"enum": ["red", "green", 3, None, {"a": [1]}]},
    {"type": "boolean"},
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "tags"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]}},
        "required": ["next"],
        "additionalProperties": False,
        "$defs": {"leaf": {"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}], "items": False}},
    },
    {"type": "string", "pattern": "^[A-F0-9]{4}$"},
    {"type": "array", "items": {"type": "number"}, "maxItems": 2},
]


@cache
def tokenizer_of(kind: str) -> Any:
    if kind == "char":
        return CharTokenizer("".join(sorted(set(LETTERS))))
    if kind == "byte":
        return ByteTokenizer()
    if kind == "bpe":
        return train_bpe_tokenizer([TRAINING], vocab_size=600)
    names = ["</s>"] if kind == "sentencepiece-like" else [SPECIAL[0], SPECIAL[2]]
    return PretrainedTokenizer(described(kind), end=names)


@cache
def grammar_of(kind: str, form: str) -> Grammar:
    tokenizer = tokenizer_of(kind)
    if form.startswith("{"):
        return Grammar.json_schema(form, tokenizer)
    return Grammar.regex(form, tokenizer)


def write(grammar: Grammar, seed: int, prompt: list[int], most: int = 120) -> tuple[list[int], bool]:
    """What a model with random logits writes, and whether it came to an end."""
    numbers, processor = np.random.default_rng(seed), grammar.after(prompt)
    tokens = np.array(prompt, np.int32)
    for _ in range(most):
        if not grammar.end_ids and processor.finished(tokens):
            return tokens[len(prompt) :].tolist(), True
        logits = numbers.standard_normal(grammar.vocab_size + 2).astype(np.float32)  # models may have more tokens
        before = logits.copy()
        changed = processor(tokens, logits)
        assert np.array_equal(logits, before)
        kept = changed > -np.inf
        assert np.array_equal(changed[kept], logits[kept])
        assert changed.dtype == logits.dtype
        token = int(changed.argmax())
        if token in grammar.end_ids:
            assert processor.complete(tokens)
            return tokens[len(prompt) :].tolist(), True
        tokens = np.append(tokens, np.int32(token))
    return tokens[len(prompt) :].tolist(), False


def text_of(kind: str, ids: list[int]) -> str:
    """Strictly: the text must be UTF-8."""
    texts = tokenizer_of(kind).token_bytes()
    return b"".join(texts[number] for number in ids).decode()


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 32), prompt=st.lists(st.integers(0, 90), max_size=3))
def test_a_text_matches_its_pattern(kind: str, pattern: str, seed: int, prompt: list[int]) -> None:
    ids, ended = write(grammar_of(kind, pattern), seed, prompt)
    if ended:
        assert re.fullmatch(pattern, text_of(kind, ids))
    elif grammar_of(kind, pattern).end_ids:
        assert "*" in pattern or "+" in pattern  # what has no longest text may go on


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 1 << 32))
def test_a_value_is_valid(kind: str, schema: dict[str, Any], seed: int) -> None:
    ids, ended = write(grammar_of(kind, json.dumps(schema)), seed, [])
    if ended:
        text = text_of(kind, ids)
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))
        assert "\n" not in text
    else:
        assert "number" in str(schema) or "integer" in str(schema)  # digits may go on


@given(seed=st.integers(0, 1 << 32), data=st.data())
def test_the_tokens_decide_and_not_the_calls_before(seed: int, data: st.DataObject) -> None:
    """One function serves several samples in turn, and sequences that were cut and tried again."""
    form = data.draw(st.sampled_from([*PATTERNS, *map(json.dumps, SCHEMAS)]))
    grammar = grammar_of("bpe", form)
    sequences = [write(grammar, seed + i, [5, 6])[0] for i in range(3)]
    shared = grammar.after([5, 6])
    for _ in range(12):
        ids = data.draw(st.sampled_from(sequences))
        ids = ids[: data.draw(st.integers(0, len(ids)))]
        tokens, logits = np.array([5, 6, *ids], np.int32), np.zeros(grammar.vocab_size, np.float32)
        assert np.array_equal(shared(tokens, logits), grammar.after([5, 6])(tokens, logits))


def test_every_token_that_fits_is_allowed() -> None:
    tokenizer = tokenizer_of("smollm")
    grammar = Grammar.regex("(hello|world|quick)s", tokenizer)
    allowed = grammar.after([])(np.zeros(0, np.int32), np.zeros(tokenizer.vocab_size, np.float32)) == 0
    texts, wanted = tokenizer.token_bytes(), (b"hellos", b"worlds", b"quicks")
    fitting = {text for text in texts if text and any(whole.startswith(text) for whole in wanted)}
    assert {texts[number] for number in np.flatnonzero(allowed)} == fitting


@given(seed=st.integers(0, 1 << 32))
def test_digits_and_letters_of_all_scripts(seed: int) -> None:
    ids, ended = write(grammar_of("byte", r"\d{3}"), seed, [])
    assert ended
    assert {unicodedata.category(letter) for letter in text_of("byte", ids)} <= {"Nd", "Cn"}  # Python may know fewer
    assert len(text_of("byte", ids)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_where_there_is_no_choice(kind: str) -> None:
    tokenizer, wanted = tokenizer_of(kind), "hello world, 12345"
    ids, ended = write(grammar_of(kind, wanted), 0, [])
    assert (text_of(kind, ids), ended) == (wanted, True)
    if kind != "sentencepiece-like":  # it would write a space first
        assert ids == tokenizer.encode(wanted).tolist()


def test_special_tokens_never_fit() -> None:
    tokenizer = tokenizer_of("smollm")
    grammar = Grammar.regex(r"(?s:.)*", tokenizer)
    changed = grammar.after([])(np.zeros(0, np.int32), np.zeros(tokenizer.vocab_size, np.float32))
    special = set(tokenizer.special_tokens.values())
    assert {n for n in special if changed[n] == 0} == set(grammar.end_ids)


def test_where_a_text_ends() -> None:
    tokenizer = tokenizer_of("char")
    ids = tokenizer.encode("ab")
    endless = Grammar.regex("ab", tokenizer).after([])
    assert (endless.complete(ids[:1]), endless.complete(ids), endless.finished(ids)) == (False, True, True)
    with pytest.raises(ConfigError, match="no token that ends a text"):
        endless(ids, np.zeros(tokenizer.vocab_size, np.float32))
    line = int(tokenizer.encode("\n")[0])
    grammar = Grammar.regex("ab", tokenizer, end_ids=[line])
    changed = grammar.after([])(ids, np.zeros(tokenizer.vocab_size, np.float32))
    assert np.flatnonzero(changed == 0).tolist() == [line]
    longer = Grammar.regex("ab+", tokenizer, end_ids=[line]).after([])
    assert (longer.complete(ids), longer.finished(ids)) == (True, False)


def test_tokens_outside_the_form() -> None:
    processor = Grammar.regex("ab", tokenizer_of("char")).after([3])
    with pytest.raises(DataError, match="was the prompt given to after"):
        processor(np.array([3, 70], np.int32), np.zeros(96, np.float32))


def test_a_form_that_is_too_large_to_follow() -> None:
    schema = {"properties": {f"p{i}": {"type": "integer"} for i in range(1000)}}
    processor = Grammar.json_schema(schema | {"type": "object"}, tokenizer_of("byte"), end_ids=[0]).after([])
    with pytest.raises(DataError, match=r"cannot be followed: .*max is 2000"):
        processor(np.array([ord("{")], np.int32), np.zeros(256, np.float32))


def test_a_vocabulary_without_the_characters() -> None:
    for pattern in ("x", "x|y"):
        grammar = Grammar.regex(pattern, CharTokenizer("ab"))
        with pytest.raises(DataError, match="lacks some of its characters"):
            grammar.after([])(np.zeros(0, np.int32), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: Grammar.regex("(", t), "not supported"),
        (lambda t: Grammar.regex(r"(a)\1", t), "not supported"),
        (lambda t: Grammar.regex("a(?=b)", t), "not supported"),
        (lambda t: Grammar.regex("a" * 300_000, t), "at most"),
        (lambda t: Grammar.json_schema("{", t), "not a JSON schema|not supported"),
        (lambda t: Grammar.json_schema({"type": "surprise"}, t), "not supported"),
        (lambda t: Grammar.json_schema({"type": "integer", "minimum": 5, "maximum": 4}, t), "not supported"),
        (lambda t: Grammar.json_schema({"not": {"type": "string"}}, t), "not supported"),
        (lambda t: Grammar.json_schema({"$ref": "https://example.org/a.json"}, t), "not supported"),
        (lambda t: Grammar.json_schema({"title": "a" * 300_000}, t), "at most"),
        (lambda t: Grammar.json_schema({"const": {1, 2}}, t), "not a JSON schema"),
        (lambda t: Grammar.json_schema(reduce(lambda s, _: {"items": s}, range(5000), {}), t), "not a JSON schema"),
    ],
)
def test_forms_that_are_not_supported(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(tokenizer_of("byte"))


def test_a_vocabulary_serves_several_grammars() -> None:
    vocabulary = Vocabulary(tokenizer_of("byte"), [10])
    for pattern in ("ab", "[xyz]{2}"):
        own, shared = Grammar.regex(pattern, tokenizer_of("byte"), end_ids=[10]), Grammar.regex(pattern, vocabulary)
        assert shared.end_ids == (10,)
        assert write(own, 1, []) == write(shared, 1, [])


def test_what_does_not_fit_together() -> None:
    class OnlyDecodes:
        decode = None

    with pytest.raises(ConfigError, match="bytes of each token"):
        Grammar.regex("a", OnlyDecodes())
    with pytest.raises(ConfigError, match="end_ids has 256"):
        Grammar.regex("a", ByteTokenizer(), end_ids=[256])
    with pytest.raises(ConfigError, match="they do not fit"):
        Grammar.regex("a", ByteTokenizer()).after([])(np.zeros(0, np.int32), np.zeros(9, np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_ends_where_its_form_does(kind: str) -> None:
    """Also without an end token, and with a draft."""
    tokenizer, grammar = tokenizer_of(kind), grammar_of(kind, "(yes|no|maybe so)")
    prompt = tokenizer.encode("say").tolist()
    model = TableModel(grammar.vocab_size + 2, 16)  # models may have more tokens
    params = SamplingParams(processor=grammar.after(prompt), num_samples=6, max_new_tokens=40)
    (result,) = batch_generate(model, [prompt], params)
    drafted = speculative_generate(model, [prompt], params, draft=TableModel(grammar.vocab_size + 2, 9, 1))
    for sample in (*result.samples, *drafted):
        assert sample.finish_reason == "stop"
        assert text_of(kind, sample.tokens.tolist()) in ("yes", "no", "maybe so")


def test_a_function_of_ones_own_comes_before_the_form() -> None:
    def no_m(tokens: Any, logits: Any) -> Any:
        assert tokens[0] == 3
        logits[ord("y")] = logits[ord("m")] = -np.inf
        return logits

    processor = grammar_of("byte", "(yes|no|maybe so)").after([3], no_m)
    allowed = processor(np.array([3], np.int32), np.zeros(256, np.float32))
    assert np.flatnonzero(allowed == 0).tolist() == [ord("n")]


def test_a_long_fixed_text_takes_a_constant_time_for_each_token() -> None:
    """Only its beginning is made into tokens."""
    fixed, asked = "a é" * 20_000, list[int]()

    class Watched(ByteTokenizer):
        def encode(self, text: str, **settings: Any) -> Any:
            asked.append(len(text))
            return super().encode(text, **settings)

    grammar = Grammar.json_schema({"const": fixed}, Watched(), end_ids=[0])
    ids, _ = write(grammar, 0, [], most=600)
    assert bytes(ids).decode(errors="ignore") == f'"{fixed}"'[: len(bytes(ids).decode(errors="ignore"))]
    assert len(ids) == 600
    assert max(asked) <= FORCED
