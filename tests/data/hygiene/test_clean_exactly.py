"""The files of cleaning to the last character, and which finding counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from minitrain.data.hygiene import Finding, NearDuplicates, clean
from minitrain.data.hygiene.sources import Item
from minitrain.data.hygiene.steps import Steps, _size
from minitrain.errors import DataError

pytest.importorskip("datasketch")


class Word(NamedTuple):
    """A filter: texts with a word in them."""

    word: str

    @property
    def reason(self) -> str:
        return self.word

    def __call__(self, text: str) -> Finding | None:
        return Finding(f"has {self.word}") if self.word in text else None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def removed(folder: str = "out") -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(folder, "removed.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_report_is_json_that_people_can_read(here: Path) -> None:
    Path("größe.txt").write_text("one\ntwo\n")
    report = clean("größe.txt", "out", unit="line", filters=[Word("two")], columns=["text"])
    text = Path("out", "report.json").read_bytes().decode()
    assert text == json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
    assert "größe.txt" in text
    assert report.sha256 == hashlib.sha256(report.data.read_bytes()).hexdigest()
    assert report.steps == ["Word(word='two')", "exact=True", "unit='line'", "columns=['text']", "mark=[]"]


def test_steps_are_named_with_their_settings(here: Path) -> None:
    Path("t.txt").write_text("one two\n")
    near = NearDuplicates(permutations=32)
    report = clean("t.txt", "out", filters=[Word("a"), Word("b")], mark=["b"], near=near, exact=False)
    settings = ["exact=False", "unit='blank'", "columns=None", "mark=['b']"]
    assert report.steps == ["Word(word='a')", "Word(word='b')", repr(near), *settings]


@pytest.mark.parametrize("count", [1, 7])
def test_five_files_without_records_are_named(here: Path, count: int) -> None:
    for number in range(count):
        Path(f"{number}.txt").write_text("\n")
    with pytest.raises(DataError, match="there are no records") as error:
        clean([f"{number}.txt" for number in range(count)], "out")
    assert str(error.value).endswith("records in " + ", ".join(f"{number}.txt" for number in range(min(count, 5))))


def test_nobody_need_be_told_of_progress(here: Path) -> None:
    Path("t.txt").write_text("".join(f"{number}\n" for number in range(1001)))
    assert clean("t.txt", "out", unit="line").kept == 1001


def test_the_first_column_that_is_missing_is_named_and_a_broken_line_has_none(here: Path) -> None:
    Path("t.jsonl").write_text('{"x": "größe"}\n{"a": "1", "c": "2"}\n{\n')
    Path("good.jsonl").write_text('{"a": "3", "b": "4", "c": "5"}\n')
    report = clean(["good.jsonl", "t.jsonl"], "out", columns=["a", "b", "c"])
    assert report.kept == 1
    assert [(one["rule"], one["raw"]) for one in removed()] == [
        ("there is no column 'a'", '{"x": "größe"}'),
        ("there is no column 'b'", '{"a": "1", "c": "2"}'),
        ("not JSON", "{"),
    ]


def test_similarities_have_four_decimals(here: Path) -> None:
    """Of 32 places, an odd number is equal: the share has five decimals."""
    near = NearDuplicates(threshold=0.5, permutations=32)
    text = "the quick brown fox jumps over the lazy dog and then it runs away as fast as it can go"

    def share(other: str) -> float:
        pair = [np.frombuffer(near.signature(one), np.uint32) for one in (text, other)]
        return float(np.mean(pair[0] == pair[1]))

    other = next(one for one in (f"{text} {n}" for n in range(99)) if share(one) * 32 % 2 == 1 and share(one) > 0.6)
    Path("t.txt").write_text(f"{text}\n{other}\n")
    clean("t.txt", "out", unit="line", near=near)
    (one,) = removed()
    assert one["detail"] == {"of": 1, "of_place": "t.txt:1", "similarity": round(share(other), 4)}
    assert share(other) not in (round(share(other), 4), round(share(other), 3))


@pytest.mark.parametrize(
    ("text", "mark", "marked", "cause"),
    [
        ("a b c", (), [], "a"),
        ("b c", (), [], "b"),
        ("a b c", ("a",), ["a"], "b"),
        ("a b c", ("a", "b"), ["a", "b"], "c"),
        ("a b c", ("b",), [], "a"),
        ("a c", ("a", "b", "c"), ["a", "c"], None),
    ],
)
def test_the_first_filter_that_removes_is_the_last_that_is_asked(
    here: Path, text: str, mark: Sequence[str], marked: list[str], cause: str | None
) -> None:
    Path("t.txt").write_text(f"{text}\n")
    report = clean("t.txt", "out", filters=[Word("a"), Word("b"), Word("c")], mark=mark)
    assert [one["reason"] for one in removed()] == ([] if cause is None else [cause])
    assert [reason for reason, _ in report.marked] == marked
    outcome = Steps([Word("a"), Word("b"), Word("c")], mark)(Item("t.txt:1", {"text": text}, "", text))
    assert [reason for reason, _ in outcome.findings] == [*marked, *([] if cause is None else [cause])]


def test_the_size_of_a_record_is_that_of_its_text() -> None:
    assert _size(Item("t:1", {"a": "bc", "n": 1}, "", '{"a": "bc", "n": 1}')) == 19
    assert _size(Item("t:1", {"a": "bc", "n": 1}, "", "")) == 2
    assert _size(Item("t:1", None, "broken", "123")) == 3
    assert _size(Item("t:1", None, "broken", "")) == 0
