"""Texts in, texts out: with minitrain's models and with those of others, in pieces and at once."""

from __future__ import annotations

import json
import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, Dataset, PretrainedTokenizer, train_bpe_tokenizer
from minitrain.errors import ConfigError, DataError, ShapeError
from minitrain.generation import (
    SamplingParams,
    TextGenerator,
    UncachedSession,
    apply_chat_template,
    batch_generate,
    find_tokenizer,
    generate_text_sampling,
    sample_text,
    session_for,
)
from minitrain.generation.text import generator
from minitrain.models.gpt import GPT, GPTConfig
from tests.helpers.plain_generation import PlainModel
from tests.helpers.texts.adversarial import TRAINING
from tests.helpers.texts.chats import CHATML
from tests.helpers.texts.tokenizers_of_others import SPECIAL, described

KINDS = ("char", "byte", "bpe", "smollm", "sentencepiece-like")
HELLO = [{"role": "user", "content": "Hello"}]


@cache
def tokenizer_of(kind: str) -> Any:
    if kind == "char":
        return CharTokenizer("".join(sorted(set("abc defgh.\n"))))
    if kind == "byte":
        return ByteTokenizer()
    if kind == "bpe":
        return train_bpe_tokenizer([TRAINING], vocab_size=400)
    if kind == "sentencepiece-like":
        return PretrainedTokenizer(described(kind), begin="<s>", end=["</s>"])
    return PretrainedTokenizer(described(kind), end=[SPECIAL[2]], chat_template=CHATML)


@cache
def model_of(kind: str) -> GPT:
    size = tokenizer_of(kind).vocab_size
    return GPT(GPTConfig(vocab_size=size, block_size=16, n_layer=1, n_head=1, n_embd=8), seed=3)


def writer_of(kind: str) -> TextGenerator:
    return TextGenerator(model_of(kind), tokenizer_of(kind), slots=3)


def prompts_of(kind: str) -> st.SearchStrategy[str]:
    return st.text("abc def" if kind == "char" else "abc dé漢😀", min_size=1, max_size=8)


@settings(max_examples=20)
@given(seed=st.integers(0, 99), session=st.booleans(), suppressed=st.sampled_from([(), (1,)]))
def test_tokens_above_the_vocabulary_are_never_written(seed: int, session: bool, suppressed: tuple[int, ...]) -> None:
    """Published models have more rows than tokens; most of this one's have no token."""
    tokenizer, model = CharTokenizer("abc"), GPT(GPTConfig(vocab_size=40, block_size=16, n_layer=1, n_head=1, n_embd=8))
    writer = TextGenerator(UncachedSession(model, 1) if session else model, tokenizer)
    text = writer.generate("ab", 12, 3.0, seed=seed, suppress_tokens=suppressed)
    assert len(text) == 14
    assert set(text[2:]) <= set("ac" if suppressed else "abc")
    params = SamplingParams(max_new_tokens=12, temperature=3.0, seed=seed, suppress_tokens=suppressed)
    assert generate_text_sampling(model, tokenizer, ["ab"], params) == [[text[2:]]]
    assert generate_text_sampling(model, tokenizer, ["ab", "ab"], [params] * 2) == [[text[2:]]] * 2
    assert set(sample_text(model, tokenizer, "ab", 12, seed=seed)) <= set("abc")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_the_text_is_that_of_the_tokens(kind: str, data: st.DataObject) -> None:
    writer, prompt = writer_of(kind), data.draw(prompts_of(kind))
    chosen: dict[str, Any] = {"top_k": data.draw(st.none() | st.integers(1, 5)), "seed": data.draw(st.integers(0, 99))}
    pieces = list(writer.stream(prompt, 12, 0.8, **chosen))
    tokens = tokenizer_of(kind).encode(prompt)
    ends = getattr(tokenizer_of(kind), "end_ids", (2,) if kind == "bpe" else ())
    params = SamplingParams(max_new_tokens=12, temperature=0.8, stop_token_ids=ends, **chosen)
    (result,) = batch_generate(writer.model, [tokens], params)
    whole, begun = (tokenizer_of(kind).decode(part) for part in ([*tokens, *result.tokens], tokens))
    assert "".join(pieces) == whole[len(begun) :]
    assert writer.generate(prompt, 12, 0.8, **chosen) == prompt + "".join(pieces)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(data=st.data())
def test_texts_of_a_batch_are_those_of_one_by_one(kind: str, data: st.DataObject) -> None:
    prompts = data.draw(st.lists(prompts_of(kind), max_size=5))
    texts = writer_of(kind).batch_generate(prompts, 8, 1.0, seed=4, stop=["a", " e"])
    assert texts == [writer_of(kind).generate(prompt, 8, 1.0, seed=4, stop=["a", " e"]) for prompt in prompts]


@pytest.mark.parametrize("kind", ["char", "byte", "smollm"])
@settings(max_examples=30)
@given(data=st.data())
def test_a_text_ends_before_its_first_stop_string(kind: str, data: st.DataObject) -> None:
    writer, prompt = writer_of(kind), data.draw(prompts_of(kind))
    seed = data.draw(st.integers(0, 99))
    whole = "".join(writer.stream(prompt, 30, seed=seed))
    inside = st.integers(0, max(0, len(whole) - 1)).map(lambda at: whole[at : at + 2])
    stops = [stop for stop in data.draw(st.lists(inside | st.text("ab", max_size=2), max_size=3)) if stop]
    found = [at for stop in stops if (at := whole.find(stop)) >= 0]
    assert "".join(writer.stream(prompt, 30, seed=seed, stop=stops)) == whole[: min(found, default=len(whole))]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_text_has_the_form_of_its_grammar(kind: str, seed: int) -> None:
    pytest.importorskip("llguidance")
    from minitrain.generation import Grammar

    writer, pattern = writer_of(kind), "(a|b){2,4} (cab|bed)[.]"
    grammar = Grammar.regex(pattern, writer.tokenizer)
    assert re.fullmatch(pattern, "".join(writer.stream("a", 60, seed=seed, grammar=grammar)))
    for text in writer.batch_generate(["a", "b", "ab"], 60, 2.0, seed=seed, grammar=grammar):
        assert re.search(f"{pattern}$", text)
    if kind not in ("char", "sentencepiece-like"):
        schema = {"type": "object", "properties": {"a": {"enum": [1, "b"]}}, "required": ["a"]}
        schema["additionalProperties"] = False
        grammar = Grammar.json_schema(schema, writer.tokenizer)
        assert json.loads("".join(writer.stream("a", 60, seed=seed, grammar=grammar))) in ({"a": 1}, {"a": "b"})


def prefers(tokens: Any, logits: Any) -> Any:
    """A processor that wants a Q or a q."""
    logits[[ord("Q"), ord("q")]] = 100
    return logits


def test_a_processor_of_ones_own() -> None:
    assert set(writer_of("byte").stream("a", 20, processor=prefers)) == {"q", "Q"}


def test_a_processor_and_a_grammar() -> None:
    pytest.importorskip("llguidance")
    from minitrain.generation import Grammar

    writer, grammar = writer_of("byte"), Grammar.regex("[a-z]{5}", writer_of("byte").tokenizer)
    assert "".join(writer.stream("a", 60, grammar=grammar, processor=prefers)) == "qqqqq"


def test_a_chat() -> None:
    writer = writer_of("smollm")
    tokens = apply_chat_template(writer.tokenizer, HELLO)
    params = SamplingParams(max_new_tokens=9, seed=5, stop_token_ids=writer.tokenizer.end_ids)
    (result,) = batch_generate(writer.model, [tokens], params)
    assert "".join(writer.chat(HELLO, 9, seed=5)) == writer.tokenizer.decode(result.tokens)
    with pytest.raises(ConfigError, match="no chat template"):
        writer_of("byte").chat(HELLO)
    with pytest.raises(DataError, match="at least one message"):
        writer.chat([])


def test_leaving_the_loop_frees_the_slots() -> None:
    session = UncachedSession(writer_of("byte").model, 2)
    pieces = TextGenerator(session, ByteTokenizer()).stream("abc", 100)
    next(pieces)
    assert session.length(0) + session.length(1) > 0
    pieces.close()
    del pieces
    assert (session.length(0), session.length(1)) == (0, 0)


def test_the_end_token_is_no_text_and_can_be_chosen() -> None:
    writer, line = writer_of("char"), int(tokenizer_of("char").encode("\n")[0])
    text = writer.generate("a", 200, seed=1, stop_token_ids=[line])
    assert "\n" not in text
    assert writer.generate("a", 200, seed=1).startswith(text + "\n")
    longer = writer.generate("a", 60, seed=1, min_new_tokens=60, stop=["b"])
    assert longer == writer.generate("a", 60, seed=1)


class Own:
    """Somebody's model."""

    def generate(self, tokens: Any, max_new_tokens: int, temperature: float = 1.0) -> Any:
        self.called = (tokens.tolist(), max_new_tokens, temperature)
        return np.concatenate([tokens, np.array([[*b"b##c"]])[:, :max_new_tokens]], axis=1)


class Bare:
    """Returns the new tokens alone; of several texts, the first counts."""

    def __init__(self, *texts: bytes) -> None:
        self.texts = texts or (b"bcd",)

    def generate(self, tokens: Any, max_new_tokens: int) -> Any:
        return [[*text] for text in self.texts]


class Echo:
    """Says everything twice; a temperature must be given."""

    def generate(self, tokens: Any, max_new_tokens: int, temperature: float) -> Any:
        return np.concatenate([tokens, tokens], axis=1)


class Transformers:
    def generate(self, inputs: Any = None, **settings: Any) -> Any:
        assert isinstance(inputs, list)
        self.called = (inputs, settings)
        return np.array([[*inputs[0], *b"xyz"]])


def test_models_of_others() -> None:
    model = Own()
    writer = TextGenerator(model, ByteTokenizer())
    assert writer.generate("a", max_length=3, temperature=0.5) == "ab##"
    assert model.called == ([[97]], 3, 0.5)
    assert writer.generate("a", stop="##") == "ab"
    assert writer.generate("a", stop="cd") == "ab##c", "what is held back is there at the end"
    assert writer.batch_generate(["a", "aa", "b"], 4, stop=["c"]) == ["ab##", "aab##", "bb##"]
    with pytest.raises(ConfigError, match="takes no top_k; it takes max_new_tokens, temperature"):
        writer.generate("a", top_k=3)
    with pytest.raises(ConfigError, match="grammar is for minitrain's models"):
        writer.generate("a", grammar=object())
    assert TextGenerator(Echo(), ByteTokenizer()).batch_generate(["a", "b", "cd"]) == ["aa", "bb", "cdcd"]
    with pytest.raises(ConfigError, match="takes no seed; it takes max_new_tokens, temperature"):
        TextGenerator(Echo(), ByteTokenizer()).generate("a", top_k=3, seed=3)
    with pytest.raises(ConfigError, match="takes no max_new_tokens; it takes no setting"):
        TextGenerator(SimpleNamespace(generate=lambda tokens: tokens), ByteTokenizer()).generate("a")
    for texts, text in (((), "abcd"), ((b"bc", b"de"), "abc"), ((b"b\xe2",), "ab\ufffd")):
        assert TextGenerator(Bare(*texts), ByteTokenizer(), returns_prompt=False).generate("a") == text
    with pytest.raises(ConfigError, match="takes no temperature"):
        TextGenerator(Bare(), ByteTokenizer()).generate("a", temperature=0.5)
    with pytest.raises(ShapeError, match="returns_prompt=False"):
        TextGenerator(Bare(), ByteTokenizer()).generate("a")
    like_transformers = Transformers()
    writer = TextGenerator(like_transformers, ByteTokenizer(), as_input=lambda tokens: tokens.tolist())
    assert writer.generate("a", 5, 0.0, top_k=3) == "axyz"
    assert like_transformers.called == ([[97]], {"max_new_tokens": 5, "top_k": 3, "do_sample": False})
    writer.generate("a", 5, 0.7)
    assert like_transformers.called[1] == {"max_new_tokens": 5, "temperature": 0.7, "do_sample": True}


def test_a_session_is_no_model_of_others() -> None:
    class Session(UncachedSession):
        generate = Bare().generate

    text = TextGenerator(Session(writer_of("byte").model, 1), ByteTokenizer()).generate("a", 3, seed=2)
    assert text == writer_of("byte").generate("a", 3, seed=2)


def test_the_tokenizer_that_is_given_comes_first() -> None:
    model = SimpleNamespace(generate=Bare(b"b").generate, tokenizer=CharTokenizer("ab"))
    assert TextGenerator(model, ByteTokenizer(), returns_prompt=False).generate("z") == "zb"
    assert TextGenerator(model).tokenizer is model.tokenizer


def test_no_more_slots_than_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def opens(model: Any, slots: int, *, device: str) -> Any:
        opened.append((slots, device))
        return session_for(model, slots)

    monkeypatch.setattr(generator, "open_session", opens)
    writer = TextGenerator(writer_of("byte").model, ByteTokenizer(), slots=2, device="elsewhere")
    for n in (1, 2, 3):
        writer.batch_generate(["a"] * n, 1)
    assert opened == [(1, "elsewhere"), (2, "elsewhere"), (2, "elsewhere")]
    with pytest.raises(ConfigError, match="slots = 0"):
        TextGenerator(writer.model, ByteTokenizer(), slots=0).generate("a")


def test_a_text_that_has_ended_takes_no_more_work() -> None:
    model = PlainModel(256, 20)
    writer = TextGenerator(model, ByteTokenizer())
    forced = dict(enumerate(b"ab#cd"))
    assert writer.generate("x", 50, forced_tokens=forced, stop="#") == "xab"
    assert len(model.seen) == 3
    assert writer.generate("x", 0) == "x"
    assert writer.generate("x", 3, forced_tokens=dict(enumerate(b"ab#")), stop="##") == "xab#"


@given(least=st.integers(0, 6))
def test_stop_strings_are_overlooked_before_the_least_length(least: int) -> None:
    """One counts if it begins in the last of these tokens or later."""
    text, writer = "bcbcbc", TextGenerator(PlainModel(256, 20), ByteTokenizer())
    start = text.find("bc", max(0, least - 1))
    settings: dict[str, Any] = {"min_new_tokens": least, "forced_tokens": dict(enumerate(text.encode())), "stop": "bc"}
    assert writer.generate("x", 6, **settings) == "x" + (text[:start] if start >= 0 else text)


def test_the_end_of_a_grammar_is_its_own() -> None:
    pytest.importorskip("llguidance")
    from minitrain.generation import Grammar

    writer, line = writer_of("char"), int(tokenizer_of("char").encode("\n")[0])
    grammar = Grammar.regex("abc*", writer.tokenizer, end_ids=[line])
    for seed in range(5):
        assert re.fullmatch("abc*", "".join(writer.stream("a", 20, grammar=grammar, seed=seed)))


def test_the_tokenizer_is_found(tmp_path: Any) -> None:
    (tmp_path / "text.txt").write_text("hello")
    tokenizer, model = ByteTokenizer(), writer_of("byte").model
    data = Dataset(tmp_path / "text.txt", tokenizer, block_size=4)
    for place in (tokenizer, data, SimpleNamespace(tokenizer=tokenizer), SimpleNamespace(dataset=data)):
        assert find_tokenizer(None, place) is tokenizer
        assert TextGenerator(model, place).generate("a", 3, seed=2) == writer_of("byte").generate("a", 3, seed=2)
    half = SimpleNamespace(encode=tokenizer.encode), SimpleNamespace(decode=tokenizer.decode)
    for place in (*half, *(SimpleNamespace(dataset=SimpleNamespace(tokenizer=one)) for one in half)):
        assert find_tokenizer(place, tokenizer) is tokenizer
    with pytest.raises(ConfigError, match="neither the data nor the model has one"):
        TextGenerator(model)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"surprise": 1}, "no setting 'surprise'"),
        ({"max_new_tokens": 1}, "no setting 'max_new_tokens'"),
        ({"top_kk": 1}, "did you mean 'top_k'"),
        ({"top_k": 0}, "top_k"),
        ({"max_length": -1}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"num_samples": 2}, "one continuation here"),
        ({"stop": [""]}, "one character or more"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        writer_of("byte").stream("a", **chosen)


def test_an_empty_prompt() -> None:
    with pytest.raises(ShapeError, match="a prompt is empty"):
        writer_of("byte").generate("")
    assert writer_of("byte").batch_generate([]) == []


def test_functions_know_the_prompt_too() -> None:
    """Between a prompt and its continuation, SentencePiece's first space is a space."""
    writer = writer_of("sentencepiece-like")
    for seed in range(20):
        params = SamplingParams(max_new_tokens=6, seed=seed, stop_token_ids=writer.tokenizer.end_ids)
        ((text,),) = generate_text_sampling(writer.model, writer.tokenizer, ["hello"], params)
        assert writer.generate("hello", 6, seed=seed) == "hello" + text
    free = writer_of("byte")
    assert free.generate("hello", 6, seed=3) == "hello" + sample_text(free.model, free.tokenizer, "hello", 6, seed=3)
