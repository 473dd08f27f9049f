"""Paths inside a run folder, what may be opened there, and what is shown of text that others wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minitrain.cli import main
from minitrain.data import TokenFile, read_corpus, write_tokens
from minitrain.errors import ConfigError, DataError, has_password, printable
from minitrain.files import FileError, open_regular, parse_json, read_file, sha256_of
from minitrain.folder import RunFolder, inside, open_to_append
from minitrain.runs import RunConfig
from minitrain.training import CsvLogger


def test_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "data").mkdir()
    for good in ["x.csv", "data/x", "./x", "data/../x", run / "x", ".", "new/folder/x", "..x"]:
        assert inside(run, good).is_relative_to(run)
    for bad in ["../x", "/etc/passwd", "data/../../x", tmp_path / "run2" / "x", "~/../../x/../../../..", "a\0b"]:
        with pytest.raises(FileError):
            inside(run, bad)
    (run / "link").symlink_to(tmp_path)
    (run / "file").write_text("")
    for bad in ["link", "link/x", "link/run/x", "file/x"]:
        with pytest.raises(FileError, match=r"cannot use .*(link|file): it is a (symbolic link|regular file)"):
            inside(run, bad)
    (tmp_path / "other name").symlink_to(run)  # the folder itself may be a link, under either name
    assert inside(tmp_path / "other name", "x") == tmp_path / "other name" / "x"
    assert inside(tmp_path / "other name", run / "x") == tmp_path / "other name" / "x"
    monkeypatch.chdir(tmp_path)
    assert inside("run", run / "x") == Path("run/x")


def test_a_trusted_folder_may_name_other_places(tmp_path: Path) -> None:
    folder, trusted = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run", trusted=True)
    assert trusted.place(tmp_path / "x") == tmp_path / "x"
    assert trusted.place("x") == tmp_path / "run" / "x"
    with pytest.raises(FileError, match="--trust"):
        folder.place(tmp_path / "x")
    with pytest.raises(FileError):  # only what settings name, not the files of the run
        trusted.file("../x")


def test_files_of_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not folder.path.exists()  # making the object touches nothing
    folder.make("plots")
    folder.write("plots/a.txt", b"1")
    folder.write("b.txt", b"22")
    with open_to_append(folder.file("b.txt")) as more:
        more.write(b"3")
    assert folder.read("b.txt") == b"223"
    with pytest.raises(FileError, match="has 3 bytes, such a file at most 2"):
        folder.read("b.txt", limit=2)
    with pytest.raises(FileError, match=r"cannot read .*none"):
        folder.read("none")
    folder.write("c.json", b'{"a": [1, 2]}')
    assert folder.read_json("c.json") == {"a": [1, 2]}
    os.mkfifo(folder.path / "pipe")
    for use in (folder.read, folder.file, lambda name: folder.write(name, b""), folder.make):
        with pytest.raises(FileError, match="a FIFO"):
            use("pipe")


def test_regular_files_alone_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "link", 3) == b"abc"
    for name in ("zero", "pipe", "."):
        for read in (lambda path: read_file(path, 10), sha256_of, open_regular):
            with pytest.raises(FileError, match="not a regular file"):
                read(tmp_path / name)
    for read in (lambda path: read_file(path, 10, links=False), lambda path: sha256_of(path, links=False)):
        with pytest.raises(FileError, match="a symbolic link"):
            read(tmp_path / "link")
    with pytest.raises(FileError, match="NUL"):
        open_regular(tmp_path / "a\0b")


def test_data_named_in_settings_is_regular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    for name in ("pipe.txt", "zero.txt"):
        with pytest.raises(DataError, match="neither a file nor a folder"):
            read_corpus(tmp_path / name)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_corpus(tmp_path)
    for folder, file in (("shards", "manifest.json"), ("unfinished", "manifest.json")):
        (tmp_path / folder).mkdir()
        os.mkfifo(tmp_path / folder / file)
        assert main(["train", "data=shards", f"data.path={tmp_path / folder}", f"run_dir={tmp_path / 'r'}"]) == 2
        assert "FIFO" in capsys.readouterr().err
    import numpy as np

    write_tokens(tmp_path / "t.bin", np.arange(3), 5)
    for name in ("t.json", "t.bin"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
        with pytest.raises(FileError, match="FIFO"):
            TokenFile.open(tmp_path / name.replace("json", "bin"))
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(content)


def test_json() -> None:
    assert parse_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for bad in (
        b'{"a": 1, "a": 2}',
        b'[{"b": {"a": 1, "a": 1}}]',
        b"[" * 100_000,
        b"[" * 2000 + b"]" * 2000,
        b"",
        b"\xff",
    ):
        with pytest.raises(ValueError):
            parse_json(bad)
    with pytest.raises(ValueError, match="more than 3 lists and objects"):
        parse_json(b"[[],[],[]]", containers=3)


def test_printable() -> None:
    assert printable("tab\t and\nline, é, 😀") == "tab\t and\nline, é, 😀"
    assert printable("\x1b[31m\r\x00\x7f\x9b\u202e\u2028\ud800") == r"\x1b[31m\r\x00\x7f\x9b\u202e\u2028\ud800"
    assert printable("at s3://key:se/cr@t@bucket/run now") == "at s3://***@bucket/run now"
    for plain in (
        "s3://bucket/run:1@v2",
        "http://localhost:5000/a@b",
        "me@example.org",
        "sftp://me@host/run",
        "a: b@c",
    ):
        assert printable(plain) == plain
        assert not has_password(plain)


@pytest.mark.parametrize(
    "settings",
    [
        ["trainer.checkpoint_url='s3://key:secret@bucket/run'"],
        ["trainer.checkpoint_url='s3://key:sec/ret@bucket/run'"],
        ["callbacks=[{name: mlflow, tracking_uri: 'https://me:secret@host/'}]"],
        ["run_dir=s3://key:secret@bucket"],
        ["data.path=https://key:secret@host/text"],
        ["trainer.checkpoint_url='s3://key:secret@bucket/run'", "nonsense=s3://key:secret@bucket"],
        ["trainer.checkpoint_url={s3://key:secret@bucket"],
    ],
    ids=str,
)
def test_passwords_are_refused_and_not_shown(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *settings]) == 2
    out, err = capsys.readouterr()
    assert "secret" not in out + err
    assert "sec/ret" not in out + err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_password_in_python(tmp_path: Path) -> None:
    from minitrain.checkpoint import CheckpointStore

    pytest.importorskip("fsspec")
    with pytest.raises(ConfigError, match=r"memory://\*\*\*@bucket has a password in it") as caught:
        CheckpointStore("memory://key:secret@bucket")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("setting", ["run_dir=a\0b", "data.path=a\0b", "generation.prompt=a\0b"])
def test_nul_is_a_mistake(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", setting]) == 2
    said = capsys.readouterr().err
    assert "NUL" in said
    assert "\0" not in said


def test_nul_in_python(tmp_path: Path) -> None:
    for use in (RunFolder, lambda path: CsvLogger(path)._open(Path(path)), read_corpus):
        with pytest.raises((FileError, DataError), match="NUL"):
            use(f"{tmp_path}/a\0b")
    for name in ("config.yaml", "other\0"):
        with pytest.raises(FileError):
            RunConfig.load(tmp_path / name)
