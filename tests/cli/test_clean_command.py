"""``minitrain clean``: what it says, what it writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minitrain.cli import main

pytest.importorskip("datasketch")
pytest.importorskip("phonenumbers")
pytest.importorskip("stdnum")

SECRET = "rite to anna@example.org or call (212) 555-2368."
TEXT = f"W{SECRET}\n\nw{SECRET}\n\nBad word.\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT)
    Path("list.txt").write_text("bad word\n")
    Path("test.txt").write_text("held out\n")
    return tmp_path


def test_the_table_is_shown_and_the_files_are_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--phone-region", "US", "--blocklist", "list.txt", "--held-out", "test.txt", "--limit", "min_words=1"]
    options += ["--limit", "min_letters=0", "--limit", "max_repeated_ngrams=9"]
    assert main(["clean", "t.txt", "--to", "out", *options]) == 0
    said = capsys.readouterr().out
    rows = {" ".join(line.split()) for line in said.splitlines()}
    assert {"read 3 from 1 file", "kept 1 33.3% of the records", "duplicate 1", "masked 2 1 email, 1 phone"} <= rows
    assert "blocklist 1 1 line 1 of list.txt" in rows
    assert "out/data.txt has the records that were kept" in said
    assert Path("out/data.txt").read_text() == "Write to <EMAIL> or call <PHONE>.\n"
    steps = json.loads(Path("out/report.json").read_text())["steps"]
    assert steps[0].startswith("Quality(min_words=1.0, ")
    assert "HeldOut(texts=1, ngram=13, names=('test.txt',))" in steps


def test_each_step_can_be_changed(here: Path) -> None:
    keep = ["--keep-near", "--keep-exact", "--personal", "none", "--records", "line"]
    assert main(["clean", "t.txt", "--to", "all", *keep]) == 0
    assert Path("all/data.txt").read_text() == TEXT.replace("\n\n", "\n")
    assert (
        main(
            ["clean", "t.txt", "--to", "some", "--personal", "phone", "--blocklist", "list.txt", "--mark", "blocklist"]
        )
        == 0
    )
    assert "anna@example.org" in Path("some/data.txt").read_text()
    assert Path("some/marked.jsonl").read_text().count("\n") == 1
    assert main(["clean", "t.txt", "--to", "near", "--threshold", "0.9", "--shingle", "2"]) == 0
    assert "threshold=0.9, shingle=2" in Path("near/report.json").read_text()


def test_nothing_left_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", "t.txt", "--to", "out", "--quality"]) == 0
    assert "warning: nothing is left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t.txt"], "--to"),
        (["none", "--to", "out"], "no file or folder none"),
        (["t.txt", "--to", "t.txt"], "is no folder"),
        (["t.txt", "--to", "out", "--limit", "min_wrds=3"], "did you mean min_words"),
        (["t.txt", "--to", "out", "--limit", "min_words=few"], "write a number, as in min_words=5"),
        (["t.txt", "--to", "out", "--personal", "emial"], "did you mean 'email'"),
        (["t.txt", "--to", "out", "--threshold", "2"], "threshold=2.0"),
        (["t.txt", "--to", "out", "--blocklist", "none"], "cannot read none"),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("out").exists()
