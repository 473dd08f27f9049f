"""Atomic writing: all or nothing, no leftovers, and an error that says what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minitrain.errors import MinitrainError
from minitrain.files import (
    FileError,
    file_error,
    fsync_directory,
    make_folder,
    open_atomically,
    sha256_of,
    write_atomically,
)
from minitrain.folder import open_to_append


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    for data in (b"first", bytes(range(256)) * 100, b""):
        write_atomically(tmp_path / "f.bin", data)
        assert (tmp_path / "f.bin").read_bytes() == data
        assert sha256_of(tmp_path / "f.bin") == hashlib.sha256(data).hexdigest()
        assert names(tmp_path) == ["f.bin"]


def test_nothing_is_visible_before_the_block_ends(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f", b"old")
    with open_atomically(tmp_path / "f") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "f").read_bytes() == b"old"
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("mid-way"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path: Path, error: BaseException) -> None:
    write_atomically(tmp_path / "f", b"old")
    with pytest.raises(type(error)), open_atomically(tmp_path / "f") as file:
        file.write(b"half")
        raise error
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_refusing_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, says: str
) -> None:
    write_atomically(tmp_path / "f", b"old")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(FileError, match=says) as caught:
            write_atomically(tmp_path / "f", b"new")
    assert str(tmp_path / "f") in str(caught.value)
    assert isinstance(caught.value, MinitrainError)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_disk_that_refuses_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """A real refusal of the kernel, not a patched one: the file size limit stands in for a full disk."""
    program = (
        "import resource, sys\n"
        "from minitrain.files import FileError, write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(sys.argv[1], b'x' * 900)\n"
        "try:\n"
        "    write_atomically(sys.argv[1], b'y' * 100_000)\n"
        "except FileError as error:\n"
        "    print(error)\n"
    )
    target = tmp_path / "f"
    done = subprocess.run([sys.executable, "-c", program, str(target)], capture_output=True, text=True, check=True)
    assert f"cannot write {target}" in done.stdout
    assert "limit" in done.stdout
    assert target.read_bytes() == b"x" * 900
    assert names(tmp_path) == ["f"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileError, match="permission denied"):
            write_atomically(tmp_path / "f", b"x")
        with pytest.raises(FileError, match="permission denied"):
            make_folder(tmp_path / "sub")
    finally:
        tmp_path.chmod(0o700)


def test_missing_folders_and_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match=r"cannot create the folder .*/file: a file of that name is in the way"):
        write_atomically(tmp_path / "file" / "f", b"x")
    with pytest.raises(FileError, match="not a folder"):
        make_folder(tmp_path / "file" / "sub")
    with pytest.raises(FileError, match="in the way"):
        make_folder(tmp_path / "file")
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    with pytest.raises(FileError, match="in the way"):
        write_atomically(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a", "file"]
    with pytest.raises(FileError, match="no such file"):
        sha256_of(tmp_path / "nothing")
    fsync_directory(tmp_path)
    if os.name == "posix":
        with pytest.raises(FileError, match="does not exist"):
            fsync_directory(tmp_path / "nothing")


def test_whoever_writes_a_file_makes_its_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "x.json", b"1")
    assert (tmp_path / "a" / "b" / "x.json").read_bytes() == b"1"
    with open_to_append(tmp_path / "c" / "d" / "x.jsonl") as file:
        file.write(b"2")
    assert (tmp_path / "c" / "d" / "x.jsonl").read_bytes() == b"2"


def test_a_file_that_is_not_there_is_no_missing_folder(tmp_path: Path) -> None:
    said = str(file_error("read", tmp_path / "x", FileNotFoundError(errno.ENOENT, "no")))
    assert said == f"cannot read {tmp_path / 'x'}: there is no such file; check the path"
