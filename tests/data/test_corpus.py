"""Reading the text to train on, and what is said when there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import read_corpus
from minitrain.errors import DataError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return folder


def test_the_default_is_the_language_reference() -> None:
    from pydoc_data.topics import topics

    text = read_corpus()
    assert len(text) > 200_000
    assert text.startswith(topics["assert"])
    assert text.index(topics["yield"]) > text.index(topics["while"]) > text.index(topics["if"])
    assert len(text) == sum(map(len, topics.values())) + 2 * (len(topics) - 1)


def test_a_python_without_the_language_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match=r"has no pydoc_data.*data\.path="):
        read_corpus()


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_file_comes_back_with_line_ends_and_byte_order_mark_normalised(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("corpus") / "any.name"
    file.write_bytes(text.encode())
    expected = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if expected.strip():
        assert read_corpus(file) == read_corpus(str(file)) == expected
    else:
        with pytest.raises(DataError, match="is empty"):
            read_corpus(file)


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path, {"text.txt": "hello"})
    assert read_corpus("~/text.txt") == "hello"


def test_a_folder_follows_its_rule(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "folder",
        {
            "b.txt": "B",
            "a/z.md": "AZ",
            "a.txt": "A",
            "a/deep/er/c.PY": "C",
            "empty.txt": "",
            "blank.txt": " \n",
            ".hidden.txt": "no",
            ".git/config.txt": "no",
            "a/.venv/lib.py": "no",
            "model.bin": "no",
            "noending": "no",
        },
    )
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    assert read_corpus(folder) == "C\nAZ\nA\nB"


def test_the_order_of_a_folder_is_that_of_the_names(tmp_path: Path) -> None:
    names = [f"{i * 37 % 50:02}" for i in range(50)]  # made in another order
    folder = write(tmp_path, {f"{name}/{name}.txt" if int(name) % 3 else f"{name}.txt": name for name in names})
    assert read_corpus(folder) == "\n".join(sorted(names))


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {"a.txt": "A"})
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    assert read_corpus(folder) == "A"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*missing\.txt"):
        read_corpus(tmp_path / "missing.txt")


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(DataError, match="f is empty"):
        read_corpus(tmp_path / "f")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"text\0more", "zero byte at offset 4"),
        ("text".encode("utf-16"), "zero byte at offset 3.*UTF-16"),
        (b"caf\xe9 au lait", "byte 0xe9 at offset 3.*Convert it to UTF-8"),
        (b"cut off \xf0\x9f", "byte 0xf0 at offset 8"),
        (b"\xef\xbb\xbfab\xff", "byte 0xff at offset 5"),
    ],
)
@pytest.mark.parametrize("in_folder", [False, True])
def test_bytes_that_are_not_text_are_located(tmp_path: Path, data: bytes, says: str, in_folder: bool) -> None:
    write(tmp_path, {"a.txt": "fine"})
    (tmp_path / "bad.txt").write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        read_corpus(tmp_path if in_folder else tmp_path / "bad.txt")
    assert str(tmp_path / "bad.txt") in str(caught.value)


def test_a_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no text.*\.md.*\.txt"):
        read_corpus(tmp_path)
    write(tmp_path, {"empty.txt": "", "data.bin": "text, but not by its name"})
    with pytest.raises(DataError, match="holds no text"):
        read_corpus(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_corpus(tmp_path / "pipe")


def test_a_file_and_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched rather than with chmod, which does not bind the superuser."""
    write(tmp_path, {"a.txt": "A"})

    def refuse(path: object, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(DataError, match=r"cannot read .*a\.txt: Permission denied"):
            read_corpus(tmp_path / "a.txt")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"cannot list the folder .*: Permission denied"):
            read_corpus(tmp_path)
