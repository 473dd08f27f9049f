"""Byte-pair encoding: any text survives, nothing in a text becomes special, and a hostile file is only refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    BPETokenizer,
    build_tokenizer,
    tokenizer_from_json,
    train_bpe_tokenizer,
    train_joint_bpe_tokenizer,
)
from minitrain.data.text.bpe import SPECIAL_TOKENS, byte_letters
from minitrain.errors import ConfigError, DataError, TokenError
from minitrain.files import FileError
from minitrain.runs import load_run, start_run
from tests.helpers.small_runs import small_config

TEXT = "the theory of the other thing: it's there <pad> 漢字 漢字, 'tis 12 12 12\n\n  the end\n" * 5
TRAINED = train_bpe_tokenizer([TEXT], vocab_size=290)
TEXTS = st.lists(st.text(st.characters(codec="utf-8")) | st.sampled_from(TEXT.split()) | st.just("<pad>")).map(" ".join)


@given(text=TEXTS)
def test_any_text_comes_back(text: str) -> None:
    ids = TRAINED.encode(text)
    assert ids.dtype == np.int32
    assert TRAINED.decode(ids) == text
    assert not np.isin(ids, range(len(SPECIAL_TOKENS))).any()


def test_frequent_words_are_one_token() -> None:
    assert len(TRAINED.encode(" the")) == 1
    assert len(TRAINED.encode(TEXT)) < 0.5 * len(TEXT.encode())
    assert TRAINED.vocab_size == 290


def pairs_joined_by_hand(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """BPE as the paper states it: the earliest pair of the list, everywhere in the word, until there is none."""
    pieces = list(word)
    while True:
        found = [merges.index(pair) for pair in itertools.pairwise(pieces) if pair in merges]
        if not found:
            return pieces
        left, right = merges[min(found)]
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == (left, right):
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined


@given(word=st.text("theoryingd", min_size=1, max_size=12))
def test_encoding_is_the_algorithm_of_the_paper(word: str) -> None:
    pieces = [TRAINED.decode([i]) for i in TRAINED.encode(word)]
    assert pieces == pairs_joined_by_hand(word, TRAINED.merges)


def test_the_first_merge_is_the_most_frequent_pair() -> None:
    assert train_bpe_tokenizer(["ab ab ab cab b"], vocab_size=261).merges == [("a", "b")]
    assert BPETokenizer([("a", "b")]).encode("cab").tolist() == [4 + sorted(byte_letters()).index("c"), 260]


def test_ids_follow_those_of_the_library() -> None:
    """The vocabulary is derived from the merges; it has to be the one the library numbered."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert sorted(alphabet) == sorted(byte_letters())
    trainer = trainers.BpeTrainer(vocab_size=286, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator([TEXT], trainer)
    shift = len(SPECIAL_TOKENS)
    assert TRAINED.encode(TEXT).tolist() == [i + shift for i in library.encode(TEXT).ids]


def test_training_is_reproducible_and_reads_an_iterator_once() -> None:
    def once() -> Iterator[str]:
        yield from (TEXT[:100], TEXT[100:])

    assert train_bpe_tokenizer([TEXT], vocab_size=290).to_json() == TRAINED.to_json()
    assert train_bpe_tokenizer(once(), vocab_size=300).decode(TRAINED.encode("")) == ""

    def broken() -> Iterator[str]:
        yield TEXT
        raise DataError("not text")

    with pytest.raises(DataError, match="not text"):
        train_bpe_tokenizer(broken(), vocab_size=300)


def test_long_texts_are_encoded_in_pieces() -> None:
    text = TEXT * 400  # several pieces
    assert len(text.encode()) > 2 << 16
    assert TRAINED.encode(text).tolist() == TRAINED.encode(TEXT).tolist() * 400


def test_special_tokens_have_ids_and_no_text() -> None:
    assert [TRAINED.special_id(name) for name in ("<pad>", "<bos>", "<eos>", "<unk>")] == [0, 1, 2, 3]
    assert TRAINED.decode([1, *TRAINED.encode("the end").tolist(), 2, 0, 0]) == "the end"
    masked = BPETokenizer([], (*SPECIAL_TOKENS, "<mask>"))
    assert (masked.special_id("<mask>"), masked.vocab_size) == (4, 261)
    with pytest.raises(DataError, match=r"no special token '<mask>', it has <pad>, .*train it with special_tokens"):
        TRAINED.special_id("<mask>")
    with pytest.raises(DataError, match="different names"):
        BPETokenizer([], ("<pad>", "<pad>"))


def test_joint_tokenizer_of_two_languages(tmp_path: Path) -> None:
    source, target = ["der Hund und das Haus"] * 5, ["the dog and the house"] * 5
    tokenizer = train_joint_bpe_tokenizer(source, target, vocab_size=290, min_frequency=2, save_dir=tmp_path / "a/b")
    again = BPETokenizer.load(tmp_path / "a/b/tokenizer.json")
    assert again.to_json() == tokenizer.to_json()
    for text in ("der Hund", "the house", "неизвестно"):
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.special_id("<pad>"), tokenizer.special_id("<unk>")) == (0, 3)
    joined = {left + right for left, right in tokenizer.merges}
    assert any(piece in "Ġder ĠHund Ġund Ġdas ĠHaus" for piece in joined)
    assert any(piece in "Ġthe Ġdog Ġand Ġhouse" for piece in joined)
    assert train_joint_bpe_tokenizer(source, target, vocab_size=290, min_frequency=6).merges  # 'd' and 'e' of both
    assert not train_joint_bpe_tokenizer(source, target, vocab_size=290, min_frequency=1000).merges


def test_numbers_out_of_range() -> None:
    for size in (259, 1 << 40):
        with pytest.raises(ConfigError, match=rf"vocab_size={size} must be at least 260.*choose 1024"):
            train_bpe_tokenizer([TEXT], vocab_size=size)
    with pytest.raises(ConfigError, match="min_frequency must be at least 1, not 0"):
        train_bpe_tokenizer([TEXT], min_frequency=0)
    for nothing in ([], [""]):
        with pytest.raises(DataError, match="without text"):
            train_bpe_tokenizer(nothing)


def test_ids_and_texts_that_do_not_fit() -> None:
    with pytest.raises(TokenError, match="token id 290 at position 1 is outside the vocabulary of 290 ids"):
        TRAINED.decode([5, 290])
    for job in (TRAINED.encode, lambda text: train_bpe_tokenizer([text])):
        with pytest.raises(DataError, match="lone surrogate"):
            job("a\ud800")


def test_survives_json_and_keeps_its_ids() -> None:
    again = tokenizer_from_json(json.loads(json.dumps(TRAINED.to_json())))
    assert isinstance(again, BPETokenizer)
    assert again.to_json() == TRAINED.to_json()
    assert again.encode(TEXT).tolist() == TRAINED.encode(TEXT).tolist()


@pytest.mark.parametrize(
    ("merges", "says"),
    [
        ([["a", "b"], ["q", "ab", "c"]], r"entry 1 of the merges is \['q', 'ab', 'c'\], where two pieces are expected"),
        ([["ab", "c"]], "entry 0"),  # nothing joined a and b
        ([["a", " "]], "entry 0"),  # a space is written as Ġ
        ([["a", 3]], "entry 0"),
        ([[["a"], "b"]], "entry 0"),
        (["ab"], "entry 0"),
        ([None], "entry 0"),
        ([["a", "b" * 1000]], "entry 0 of the merges is .*…, where"),
    ],
)
def test_damaged_merges_are_located(merges: list[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        BPETokenizer.from_json({"name": "bpe", "special_tokens": [], "merges": merges})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
PAIRS = st.lists(st.sampled_from(["a", "b", "ab", "Ġ", "", "\ud800", "é"]) | JSON, max_size=3)


@given(merges=st.lists(PAIRS, max_size=6) | JSON, names=st.lists(st.text(max_size=3) | JSON, max_size=4) | JSON)
@settings(max_examples=300)
def test_any_description_gives_a_tokenizer_or_a_data_error(merges: Any, names: Any) -> None:
    try:
        tokenizer = tokenizer_from_json({"name": "bpe", "special_tokens": names, "merges": merges})
    except DataError as error:
        assert str(error)
        return
    assert tokenizer.decode(tokenizer.encode("abab é")) == "abab é"


@given(data=st.binary(max_size=60) | JSON.map(json.dumps).map(str.encode))
def test_any_file_gives_a_tokenizer_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("hostile") / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"tokenizer\.json: "):
        BPETokenizer.load(path)


def test_files_that_are_deep_or_missing(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match=r"deep\.json"):
        BPETokenizer.load(tmp_path / "deep.json")
    with pytest.raises(FileError, match=r"cannot read .*missing\.json"):
        BPETokenizer.load(tmp_path / "missing.json")


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    TRAINED.save(tmp_path / "tokenizer.json")
    data = (tmp_path / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        BPETokenizer.load(tmp_path / "tokenizer.json")


def test_a_run_is_trained_on_bpe_and_keeps_its_tokenizer(tmp_path: Path, no_pictures: None) -> None:
    changes = {"data_tokenizer": "bpe", "data_vocab_size": 280, "trainer_max_steps": 3, "trainer_sample_tokens": 4}
    config = small_config(tmp_path, **changes)
    run = start_run(config)
    text = Path(str(config.data.path)).read_text()
    assert run.tokenizer.vocab_size == 280
    assert run.tokenizer.to_json() == build_tokenizer("bpe", text, vocab_size=280).to_json()
    run.train()
    loaded = load_run(run.run_dir)
    assert loaded.tokenizer.to_json() == run.tokenizer.to_json()
    assert loaded.model.config.vocab_size == 280


def test_a_vocabulary_size_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.vocab_size must be between 260 and 1048576, got 259"):
        small_config(tmp_path, data_tokenizer="bpe", data_vocab_size=259)
