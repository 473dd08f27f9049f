"""Token files: what is written comes back, and what is damaged is refused."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import TokenFile, write_tokens
from minitrain.data.tokens import token_file
from minitrain.errors import DataError, TokenError
from minitrain.files import FileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good token file of 100 ids."""
    write_tokens(tmp_path / "train.bin", np.arange(100) % 65, 65)
    return tmp_path / "train.bin"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@given(data=st.data())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("tokens") / "train.bin"
    vocab_size = data.draw(st.sampled_from([1, 2, 256, 65536, 65537, 2**31]) | st.integers(1, 2**31))
    ids = data.draw(st.lists(st.integers(0, vocab_size - 1), min_size=1))
    dtype = data.draw(st.sampled_from([np.dtype(name) for name in ("i8", "u4", ">i8")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_file, "CHUNK", data.draw(st.integers(1, 10)))
        write_tokens(path, np.array(ids, dtype=dtype), vocab_size)
    opened = TokenFile.open(path, verify=True)
    assert opened.tokens.tolist() == ids
    assert opened.vocab_size == vocab_size
    assert isinstance(opened.tokens, np.memmap)
    # The bytes on disk are plain little-endian integers that anything else can read.
    assert path.read_bytes() == np.array(ids, np.dtype("<u2" if vocab_size <= 65536 else "<u4")).tobytes()
    assert names(path.parent) == ["train.bin", "train.json"]


def test_the_map_is_read_only(path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        TokenFile.open(path).tokens[0] = 1


def test_one_token_file_can_be_written_from_another(path: Path) -> None:
    tokens = TokenFile.open(path).tokens
    write_tokens(path.with_name("copy.bin"), tokens, 65)
    assert TokenFile.open(path.with_name("copy.bin"), verify=True).tokens.tolist() == tokens.tolist()


@pytest.mark.parametrize("bad", [65, -1])
def test_ids_outside_the_vocabulary_are_located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    monkeypatch.setattr(token_file, "CHUNK", 3)
    with pytest.raises(TokenError, match=f"token id {bad} at position 7 .* 65 ids"):
        write_tokens(tmp_path / "f.bin", np.array([0, 1, 2, 3, 4, 5, 6, bad, 8, bad]), 65)
    assert names(tmp_path) == []


@pytest.mark.parametrize("ids", [np.zeros(3), np.zeros((2, 2), int), np.zeros(0, int)])
def test_arrays_that_are_not_ids(tmp_path: Path, ids: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match=r"non-empty \(N,\) array of integers"):
        write_tokens(tmp_path / "f.bin", ids, 65)
    assert names(tmp_path) == []


def test_other_arguments_that_do_not_fit(tmp_path: Path) -> None:
    for vocab_size in (0, 2**31 + 1):
        with pytest.raises(DataError, match="vocab_size must be between"):
            write_tokens(tmp_path / "f.bin", np.zeros(1, int), vocab_size)
    with pytest.raises(DataError, match=r"must end in \.bin"):
        write_tokens(tmp_path / "f.json", np.zeros(1, int), 65)
    with pytest.raises(DataError, match=r"must end in \.bin"):
        TokenFile.open(tmp_path / "f.json")
    write_tokens(tmp_path / "new" / "f.bin", np.zeros(1, int), 65)
    with pytest.raises(FileError, match="a file of that name is in the way"):
        write_tokens(tmp_path / "new" / "f.bin" / "f.bin", np.zeros(1, int), 65)


def test_a_full_disk_keeps_the_old_pair(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(FileError, match=r"cannot write .*train\.bin: the disk is full"):
            write_tokens(path, np.zeros(100, int), 65)
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before
    assert names(path.parent) == ["train.bin", "train.json"]


def test_a_stop_between_the_two_renames_leaves_no_wrong_description(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def stop_at_the_description(source: Path, target: Path) -> None:
        if target.suffix == ".json":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_at_the_description)
        with pytest.raises(FileError):
            write_tokens(path, np.zeros(100, int), 65)  # as many ids as before: the size would not tell
    with pytest.raises(DataError, match=r"there is no .*train\.json"):
        TokenFile.open(path)
    assert names(path.parent) == ["train.bin"]


@given(position=st.integers(0, 199), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, position: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "train.bin"
    write_tokens(path, np.arange(100), 100)
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged: its SHA-256"):
        TokenFile.open(path, verify=True)


@pytest.mark.parametrize("size", [0, 1, 199, 201, 400])
def test_a_file_of_another_size(path: Path, size: int) -> None:
    path.write_bytes((path.read_bytes() * 2)[:size])
    with pytest.raises(DataError, match=rf"train\.bin has {size} bytes, but .* describes 100 ids of uint16, 200"):
        TokenFile.open(path)


def edit(**changes: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


def without(field: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({k: v for k, v in json.loads(data).items() if k != field}).encode()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:20], "not JSON"),
        (lambda data: b"", "not JSON"),
        (lambda data: b"\xff\xfe" + data, "not JSON"),
        (lambda data: b"[1, 2]", "does not describe a token file"),
        (edit(version=2), "version 2, not 'minitrain tokens' version 1"),
        (edit(format="images"), "format 'images'"),
        (edit(dtype="uint32"), "contradicts itself: dtype 'uint32'.* 65 ids are stored as uint16"),
        (edit(dtype="float32"), "contradicts itself"),
        (edit(dtype=7), "contradicts itself"),
        (edit(vocab_size=70000), "contradicts itself.* stored as uint32"),
        (edit(vocab_size=0), "contradicts itself"),
        (edit(count=0), "contradicts itself"),
        (edit(count=99), "describes 99 ids"),
        (edit(count="100"), "does not describe"),
        *[
            (without(field), "does not describe")
            for field in ("format", "version", "dtype", "count", "vocab_size", "sha256")
        ],
    ],
)
def test_a_damaged_description(path: Path, damage: Callable[[bytes], bytes], says: str) -> None:
    sidecar = path.with_suffix(".json")
    sidecar.write_bytes(damage(sidecar.read_bytes()))
    with pytest.raises(DataError, match=says) as caught:
        TokenFile.open(path)
    assert str(sidecar) in str(caught.value)


def test_missing_files(path: Path) -> None:
    path.rename(path.with_name("other.bin"))
    with pytest.raises(DataError, match=r"no token file .*train\.bin"):
        TokenFile.open(path)
    with pytest.raises(DataError, match=r"no .*other\.json, the description"):
        TokenFile.open(path.with_name("other.bin"))
