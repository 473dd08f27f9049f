"""Verses as diatheke prints them, and a stand-in for diatheke: pairs, and everything that it may do wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitrain.data import data_set
from minitrain.data.catalog import bible
from minitrain.data.catalog.bible import read_verses
from minitrain.errors import DataError

PRINTED = """Genesis 1:1: In the beginning
God created.

Genesis 1:2: ¶ And\u200b   the \x07earth.
A Psalm of David.
  Psalms 3:1: LORD, how are they
increased?

A Psalm of David.
  Psalms 3:2: Many.
<title canonical="true">A praise.</title> <lg sID="x"/> <l level="1"/>I John 5:7: For three.
   The following words are a glossary: not 1:1: a verse.
and go on.
(engKJV2006eb)
"""


def test_verses_as_they_are_printed() -> None:
    assert read_verses(PRINTED) == {
        ("Genesis", 1, 1): "In the beginning God created.",
        ("Genesis", 1, 2): "And the earth.",
        ("Psalms", 3, 1): "LORD, how are they increased?",
        ("Psalms", 3, 2): "Many.",
        ("I John", 5, 7): "For three.",
    }


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, which is found in place of diatheke; it has files of both data sets beside it."""
    for name in (*data_set("bible").files, *data_set("bible_es").files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / "bin" / "diatheke"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    return path


def does(program: Path, lines: str) -> None:
    program.write_text(f"#!/bin/sh\n{lines}")
    program.chmod(0o755)


PRINTS = """[ -d "$SWORD_PATH/modules" ] || exit 1
case $2 in engKJV2006eb) word=Thou;; engWEB2015eb) word=You;; spaRV1909eb) word=Vos;; *) exit 1;; esac
printf "Genesis 1:1: $word.\\nMark 1:1: $word.\\nEsther 1:1: $word.\\nActs 8:36: $word.\\n"
[ $word = You ] || printf "Acts 8:37: $word.\\n"
[ $word = Vos ] || printf "Mark 1:2: $word.\\n"
[ $word != You ] || printf "Tobit 1:1: You.\\nTobit 1:2: You.\\n"
"""


def test_verses_of_two_versions_are_paired_and_the_others_named(program: Path) -> None:
    does(program, PRINTS)
    folder = program.parent.parent
    data = data_set("bible").prepare(folder, check=False)
    verses = [[record["verse"] for record in part] for part in data]
    assert verses == [["Genesis 1:1", "Acts 8:36"], ["Esther 1:1"], ["Mark 1:1", "Mark 1:2"]]
    assert data.test[0] == {"source": "Thou.", "target": "You.", "verse": "Mark 1:1"}
    assert data.train.broken.count == 2
    assert list(map(str, data.train.broken.named)) == [
        "Acts 8:37: engWEB2015eb lacks this verse",
        "Tobit 1:1: engKJV2006eb lacks this book",
    ]
    spanish = data_set("bible_es").prepare(folder, check=False)
    assert [len(part) for part in spanish] == [2, 1, 1]
    assert spanish.test[0] == {"source": "You.", "target": "Vos.", "verse": "Mark 1:1"}
    assert next(str(one) for one in spanish.train.broken.named) == "Mark 1:2: spaRV1909eb lacks this verse"
    with pytest.raises(DataError, match=r"nt\.bzz is not what the figures of bible_es were measured on"):
        data_set("bible_es").prepare(folder)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("exit 3\n", "diatheke cannot print engKJV2006eb from .*: its exit code is 3"),
        ("printf '\\377'\n", "cannot print .*: 'utf-8' codec can't decode"),
        ("yes\n", "cannot print .*: it prints more than 1,000 bytes"),
        ("exec sleep 60\n", "cannot print .*: its exit code is -9"),
    ],
)
def test_a_program_that_does_something_else(
    program: Path, lines: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bible, "_MOST_BYTES", 1000)
    monkeypatch.setattr(bible, "_SECONDS", 0.5)
    does(program, lines)
    with pytest.raises(DataError, match=says):
        data_set("bible").prepare(program.parent.parent, check=False)


def test_without_the_program(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="diatheke, which prints this data set, is not installed: apt install"):
        data_set("bible").prepare(tmp_path, check=False)
