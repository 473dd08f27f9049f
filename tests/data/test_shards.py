"""Token shards: the tokens of the whole text, made in little memory, complete or resumed or refused."""

from __future__ import annotations

import json
import os
import tracemalloc
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    ByteTokenizer,
    CharTokenizer,
    JoinedTokens,
    TokenLoader,
    TokenShards,
    build_token_shards,
    evaluation_batches,
    read_corpus,
    train_bpe_tokenizer,
)
from minitrain.data.tokens import shards
from minitrain.errors import ConfigError, DataError
from minitrain.files import FileError

TEXT = "Grüße aus 東京,\r\nit is the end of the line 🙂 and the end of the text\n\n"
SIZES = {"shard_tokens": 61, "piece_bytes": 16}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of tiny shards need not survive a power cut; that files do is tested in test_files.py."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of text, a blank one among them."""
    (tmp_path / "texts").mkdir()
    for name, text in {"a.txt": TEXT * 3, "b.txt": " \n", "c.txt": TEXT[5:] + "no newline"}.items():
        (tmp_path / "texts" / name).write_bytes(text.encode())
    return tmp_path / "texts"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(shard_tokens=st.integers(60, 400), piece_bytes=st.integers(8, 300))
@settings(max_examples=12)
def test_shards_are_the_text_read_at_once(
    tmp_path_factory: pytest.TempPathFactory, shard_tokens: int, piece_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("build") / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes((TEXT * 2).encode())
    (folder / "b.txt").write_bytes(TEXT[3:].encode())
    text = read_corpus(folder)
    for tokenizer in (ByteTokenizer(), CharTokenizer.from_text(text)):
        out = folder.parent / type(tokenizer).__name__
        built = build_token_shards(folder, tokenizer, out, shard_tokens=shard_tokens, piece_bytes=piece_bytes)
        assert built.tokens[:].tolist() == tokenizer.encode(text).tolist()
        assert all(file.tokens.size == shard_tokens for file in built.files[:-1])
        assert 0 < built.files[-1].tokens.size <= shard_tokens
        opened = TokenShards.open(out, verify=True)
        assert opened.tokens[:].tolist() == built.tokens[:].tolist()
        assert opened.tokenizer.to_json() == tokenizer.to_json()
        assert not (out / "unfinished.json").exists()


def test_documents_end_with_their_id(folder: Path) -> None:
    tokenizer = train_bpe_tokenizer([read_corpus(folder)], vocab_size=280)
    end = tokenizer.special_id("<eos>")
    built = build_token_shards(folder, tokenizer, folder.parent / "out", end_id=end, shard_tokens=20)
    expected = [[*tokenizer.encode(read_corpus(folder / name)).tolist(), end] for name in ("a.txt", "c.txt")]
    assert built.tokens[:].tolist() == [*chain(*expected)]
    assert (built.end_id, TokenShards.open(folder.parent / "out").end_id) == (end, end)


def test_several_sources_in_the_order_given(folder: Path) -> None:
    built = build_token_shards([folder / "c.txt", folder / "a.txt"], ByteTokenizer(), folder.parent / "out", **SIZES)
    text = read_corpus(folder / "c.txt") + "\n" + read_corpus(folder / "a.txt")
    assert ByteTokenizer().decode(built.tokens[:]) == text


class Killed(BaseException):
    pass


@pytest.mark.parametrize("tokenizer", ["byte", "bpe"])
def test_stopped_at_any_write_it_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: str
) -> None:
    made: Any = ByteTokenizer() if tokenizer == "byte" else train_bpe_tokenizer([TEXT], vocab_size=270)
    options = {**SIZES, "end_id": 2}
    whole = folder.parent / "whole"
    build_token_shards(folder, made, whole, **options)
    replace, stops = os.replace, 0
    for stop in range(100):
        out, count = folder.parent / f"out-{stop}", 0

        def stopping(source: Path, target: Path, stop: int = stop) -> None:
            nonlocal count
            if count == stop:
                raise Killed
            count += 1
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stopping)
            try:
                build_token_shards(folder, made, out, **options)
                break
            except Killed:
                stops += 1
        if stop > 1:
            with pytest.raises(DataError, match="not finished: make them with minitrain shards"):
                TokenShards.open(out)
        build_token_shards(folder, made, out, **options)
        assert tree(out) == tree(whole)
    assert stops > 3 * 3  # two files and a note of the progress for each shard


def test_resuming_does_not_read_again_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, out = tmp_path / "text", tmp_path / "out"
    before: list[str] = []
    read: list[str] = []
    text.write_text(" ".join(str(number) for number in range(100, 300)))
    encode = ByteTokenizer.encode

    def counting(self: ByteTokenizer, text: str) -> Any:
        read.append(text)  # whichever list that is by then
        if len(read) == 30 and not before:
            raise Killed
        return encode(self, text)

    monkeypatch.setattr(ByteTokenizer, "encode", counting)
    with pytest.raises(Killed):
        build_token_shards(text, ByteTokenizer(), out, **SIZES)
    assert len(json.loads((out / "unfinished.json").read_text())["shards"]) >= 5
    before, read = read, []
    build_token_shards(text, ByteTokenizer(), out, **SIZES)
    assert len(set(before) & set(read)) <= 6  # what belongs to the shard that was not complete


def test_a_folder_with_other_shards_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder.parent / "out"
    with monkeypatch.context() as patch:
        patch.setattr(shards, "MANIFEST", "unfinished.json/manifest.json")  # below a file: the last write fails
        with pytest.raises(FileError, match="a file of that name is in the way"):
            build_token_shards(folder, ByteTokenizer(), out, **SIZES)
    with pytest.raises(DataError, match="begun with other shard_tokens: call with the same arguments"):
        build_token_shards(folder, ByteTokenizer(), out, shard_tokens=62, piece_bytes=16)
    (folder / "c.txt").write_text("changed")
    with pytest.raises(DataError, match="begun with other sources"):
        build_token_shards(folder, ByteTokenizer(), out, **SIZES)
    (out / "unfinished.json").unlink()
    with pytest.raises(
        DataError, match=r"holds shards of unknown origin, with neither manifest\.json nor unfinished\.json"
    ):
        build_token_shards(folder, ByteTokenizer(), out, **SIZES)
    other = folder.parent / "other"
    build_token_shards(folder, ByteTokenizer(), other, **SIZES)
    with pytest.raises(DataError, match=r"already holds token shards: open them with TokenShards\.open"):
        build_token_shards(folder, ByteTokenizer(), other, **SIZES)


def test_arguments_that_do_not_fit(folder: Path) -> None:
    out = folder.parent / "out"
    with pytest.raises(ConfigError, match="shard_tokens=0 must be at least 1"):
        build_token_shards(folder, ByteTokenizer(), out, shard_tokens=0)
    with pytest.raises(ConfigError, match="piece_bytes=7 at least 8"):
        build_token_shards(folder, ByteTokenizer(), out, piece_bytes=7)
    with pytest.raises(ConfigError, match="end_id=256 must be an id of the tokenizer, from 0 to 255"):
        build_token_shards(folder, ByteTokenizer(), out, end_id=256)
    with pytest.raises(DataError, match="no sources"):
        build_token_shards([], ByteTokenizer(), out)
    with pytest.raises(DataError, match="there is no file or folder"):
        build_token_shards(folder / "missing", ByteTokenizer(), out)
    with pytest.raises(DataError, match="is inside its own source"):
        build_token_shards(folder, ByteTokenizer(), folder / "out")
    assert not out.exists()
    with pytest.raises(DataError, match=r"it has no manifest\.json"):
        TokenShards.open(folder)


@pytest.fixture
def built(folder: Path) -> Path:
    return build_token_shards(folder, ByteTokenizer(), folder.parent / "built", **SIZES).path


def test_damage_is_found(built: Path) -> None:
    data = (built / "shard-00001.bin").read_bytes()
    (built / "shard-00001.bin").write_bytes(data[:-2] + b"\0\0")
    TokenShards.open(built)  # as many bytes as promised
    with pytest.raises(DataError, match=r"shard-00001\.bin is damaged: its SHA-256"):
        TokenShards.open(built, verify=True)
    for name in ("shard-00001.bin", "shard-00001.json"):
        (built / name).write_bytes((built / name.replace("1", "0")).read_bytes())
    with pytest.raises(DataError, match=r"shard-00001\.bin is not the shard that manifest\.json describes"):
        TokenShards.open(built)


def test_a_damaged_shard_is_not_built_upon(built: Path) -> None:
    fields = json.loads((built / "manifest.json").read_bytes())
    begun = {**fields, "shards": fields["shards"][:2], "place": [0, 64, 10]}
    (built / "manifest.json").unlink()
    (built / "unfinished.json").write_text(json.dumps(begun))
    (built / "shard-00001.bin").write_bytes(b"\1\0" * 61)
    with pytest.raises(DataError, match="is damaged: its SHA-256"):
        build_token_shards(built.parent / "texts", ByteTokenizer(), built, **SIZES)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CHANGES = st.dictionaries(
    st.sampled_from(["format", "version", "tokenizer", "vocab_size", "end_id", "count", "shards", "place"]),
    JSON | st.lists(st.dictionaries(st.sampled_from(["name", "count", "sha256"]), JSON, max_size=3), max_size=2),
    min_size=1,
)


@given(changes=CHANGES, name=st.sampled_from(["manifest.json", "unfinished.json"]))
@settings(max_examples=40)
def test_a_hostile_description_is_only_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], name: str
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "a.txt").write_text("some text")
    out = build_token_shards(folder / "a.txt", ByteTokenizer(), folder / "out", shard_tokens=5).path
    fields = json.loads((out / "manifest.json").read_bytes())
    (out / "manifest.json").unlink()
    (out / name).write_text(json.dumps({**fields, "place": [0, 0, 9], **changes}))
    try:
        if name == "manifest.json":
            TokenShards.open(out, verify=True)
        else:
            build_token_shards(folder / "a.txt", ByteTokenizer(), out, shard_tokens=5)
    except DataError as error:
        assert str(error)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"3"])
def test_a_manifest_that_is_no_json(built: Path, data: bytes) -> None:
    (built / "manifest.json").write_bytes(data)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        TokenShards.open(built)


def peak_of_building(folder: Path, length: int) -> int:
    """Peak of the memory that Python and NumPy ask for while a text of ``length`` bytes becomes shards."""
    text = folder / f"{length}.txt"
    line = ("lorem ipsum dolor sit amet, " * 36 + "\n").encode()
    with text.open("wb") as file:
        for _ in range(length // len(line)):
            file.write(line)
    tracemalloc.start()
    build_token_shards(text, ByteTokenizer(), folder / str(length), shard_tokens=1 << 18, piece_bytes=1 << 15)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_depend_on_the_length(tmp_path: Path) -> None:
    """Four times the text, the same peak, but for the line that the manifest has for each shard."""
    short, long = peak_of_building(tmp_path, 2 << 20), peak_of_building(tmp_path, 8 << 20)
    assert short < 3 << 20
    assert long < 1.05 * short


@given(data=st.data())
def test_joined_tokens_read_as_one_array(data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=6), min_size=1, max_size=5))
    joined, plain = JoinedTokens([np.array(part, np.uint16) for part in parts]), np.array([*chain(*parts)], np.uint16)
    assert (joined.shape, joined.ndim, joined.size, len(joined)) == (plain.shape, 1, plain.size, plain.size)
    assert joined.dtype == plain.dtype
    ends = st.none() | st.integers(-40, 40)
    cut = slice(data.draw(ends), data.draw(ends), data.draw(st.none() | st.integers(-3, 3).filter(bool)))
    assert joined[cut].tolist() == plain[cut].tolist()
    shape = data.draw(st.sampled_from([(), (0,), (3,), (2, 4)]))
    index = np.array(data.draw(st.lists(st.integers(-plain.size, plain.size - 1), min_size=8, max_size=8)))
    index = index[: int(np.prod(shape))].reshape(shape)
    assert joined[index].tolist() == plain[index].tolist()
    assert joined[index].dtype == plain.dtype
    assert list(joined) == list(plain)
    for wrong in (plain.size, -plain.size - 1, 0.5):
        with pytest.raises(IndexError):
            joined[wrong]


def test_loaders_read_shards(built: Path, folder: Path) -> None:
    tokens = TokenShards.open(built).tokens
    ids = ByteTokenizer().encode(read_corpus(folder))
    ours, theirs = TokenLoader(tokens, 8, 5, seed=3), TokenLoader(ids, 8, 5, seed=3)
    for step in (0, 3, 50):
        assert np.array_equal(ours.batch(step).inputs, theirs.batch(step).inputs)
        assert np.array_equal(ours.batch(step).targets, theirs.batch(step).targets)
    pairs = zip(evaluation_batches(tokens, 9, 4), evaluation_batches(ids, 9, 4), strict=True)
    assert all(np.array_equal(one.targets, other.targets) for one, other in pairs)
