"""Readers of records: what was written comes back, whatever it is, and damaged files are named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    Column,
    GeneratedRecords,
    JoinedRecords,
    JsonLines,
    LabelledFolder,
    MemoryRecords,
    ParallelText,
    TableRecords,
    read_records,
)
from minitrain.errors import ConfigError, DataError
from minitrain.random import uniform_number

LINES = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029\x85"), min_size=1, max_size=12
).filter(lambda text: text.strip() != "" and not text.startswith("\ufeff"))
VALUES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@given(
    pairs=st.lists(st.tuples(LINES, LINES), min_size=1, max_size=9),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
@settings(max_examples=30)
def test_parallel_lines_come_back(folder: Path, pairs: list[tuple[str, str]], end: str, bom: bool) -> None:
    for name, side in zip(("source", "target"), zip(*pairs, strict=True), strict=True):
        (folder / name).write_bytes(b"\xef\xbb\xbf" * bom + end.join(side).encode())
    records = ParallelText(folder / "source", folder / "target")
    assert [tuple(record.values()) for record in records] == pairs
    assert records[-1] == records[len(pairs) - 1]
    with pytest.raises(IndexError):
        records[len(pairs)]


@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8))
@settings(max_examples=30)
def test_rows_of_csv_and_json_come_back_line_ends_and_quotes_too(folder: Path, rows: list[tuple[str, str]]) -> None:
    with open(folder / "table.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["a", "b"])
        writer.writerows(rows)
    (folder / "lines.jsonl").write_text("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in rows))
    for name in ("table.csv", "lines.jsonl"):
        records = read_records(folder / name, {"x": "b", "y": "a"})
        assert [(record["y"], record["x"]) for record in records] == rows
        assert records.columns == ("x", "y")


@given(
    good=st.lists(st.booleans(), min_size=1, max_size=40).filter(any),
)
@settings(max_examples=40)
def test_any_pattern_of_broken_lines_is_left_out(folder: Path, good: list[bool]) -> None:
    lines = [json.dumps({"n": i}) if fine else '{"n": "' for i, fine in enumerate(good)]
    (folder / "some.jsonl").write_text("\n".join(lines) + "\n")
    records = JsonLines(folder / "some.jsonl", {"n": Column("n", "integer")}, broken="skip", max_broken=1.0)
    assert [record["n"] for record in records] == [i for i, fine in enumerate(good) if fine]
    assert [item.line for item in records.broken.named] == [i + 1 for i, fine in enumerate(good) if not fine][:20]
    assert records.broken.count == good.count(False)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


BROKEN = [
    ("a\tb\nx\ty\nx\n", "3: has not 2 columns"),
    (b"a\tb\nx\t\xff\n", "2: not UTF-8"),
    ("a\tb\n\n", "2: the line is empty"),
    ("a\tb\nx\t \n", "2: column 'b' is empty"),
    (b"a\tb\nx\0\ty\n", "2: holds a zero byte"),
]


@pytest.mark.parametrize(("content", "says"), BROKEN)
def test_a_broken_row_is_refused_by_its_line_or_left_out(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = write(tmp_path / "t.tsv", content)
    with pytest.raises(DataError, match=r"t\.tsv:" + says + '.*broken="skip"'):
        read_records(path, {"a": "a", "b": "b"})
    if content.count("x" if isinstance(content, str) else b"x") > 1:
        records = read_records(path, {"a": "a", "b": "b"}, broken="skip", max_broken=0.5)
        assert [*records] == [{"a": "x", "b": "y"}]
    with pytest.raises(DataError, match=r"1 of \d items are broken, more than max_broken=0.1 allows; 1 broken: 1 ×"):
        read_records(path, {"a": "a", "b": "b"}, broken="skip", max_broken=0.1)


VALUE = [
    ('{"v": 3}', "text", None),
    ('{"v": "\\ud800"}', "text", None),
    ('{"v": ["a", 1]}', "texts", None),
    ('{"v": []}', "texts", None),
    ('{"v": ["a", " "]}', "texts", None),
    ('{"v": ["a", "b"]}', "texts", ["a", "b"]),
    ('{"v": 3}', "label", "3"),
    ('{"v": true}', "label", None),
    ('{"v": "a b"}', "text or texts", "a b"),
    ('{"v": ["a", "b"]}', "text or texts", ["a", "b"]),
    ('{"v": ["a", 1]}', "text or texts", None),
    ('{"v": 1}', "text or texts", None),
    ('{"v": []}', "text or texts", None),
    ('{"v": 3.5}', "integer", None),
    ('{"v": 9223372036854775808}', "integer", None),
    ('{"v": "12"}', "integer", 12),
    ('{"v": NaN}', "number", None),
    ('{"v": 1e999}', "number", None),
    ('{"v": 2}', "number", 2.0),
    ('{"v": null}', "any", ""),
    ('{"w": 1}', "any", None),
    ('{"v": 1, "v": 2}', "any", None),
    ("[1]", "any", None),
    ("[" * 5000, "any", None),
    ('{"v": ' + "9" * 5000 + "}", "integer", None),
]


@pytest.mark.parametrize(("line", "kind", "expected"), VALUE)
def test_kinds_of_columns(tmp_path: Path, line: str, kind: str, expected: Any) -> None:
    path = write(tmp_path / "v.jsonl", line)
    empty = kind == "any"
    if expected is None:
        with pytest.raises(DataError, match=r"v\.jsonl:1: "):
            read_records(path, {"v": Column("v", kind, empty)})
    else:
        assert read_records(path, {"v": Column("v", kind, empty)})[0] == {"v": expected}


def test_a_line_that_never_ends_is_no_record_and_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minitrain.data.records.indexed_file.MAX_RECORD_BYTES", 2000)
    path = write(tmp_path / "long.jsonl", b'{"v": "' + b"x" * 5_000_000 + b'"}\n{"v": "y"}\n')
    records = read_records(path, {"v": "v"}, broken="skip", max_broken=0.5)
    assert [*records] == [{"v": "y"}]
    assert "long.jsonl:1: longer than" in str(records.broken.named[0])
    table = write(tmp_path / "quote.csv", 'v\n"never closed\n' + "y\n" * 3000)
    assert len(read_records(table, broken="skip", max_broken=0.9)) > 1000


def test_parallel_files_of_different_lengths(tmp_path: Path) -> None:
    source, target = write(tmp_path / "s", "a\nb\nc\n"), write(tmp_path / "t", "a\nb\n")
    for pair in ((source, target), (target, source)):
        with pytest.raises(DataError, match=r"same number of lines: .* has \d, .* has \d; line n of one"):
            ParallelText(*pair)
    with pytest.raises(DataError, match="no pairs of lines"):
        ParallelText(write(tmp_path / "none", ""), tmp_path / "none")
    target.write_text("a\n\nc\n")
    with pytest.raises(DataError, match="t:2: column 'target' is empty"):
        ParallelText(source, target)
    records = ParallelText(source, target, broken="skip", max_broken=0.4)
    assert [record["source"] for record in records] == ["a", "c"]
    assert records.place(1) == f"{source}:3"


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"v": "a"}\n{"v": "b"}\n')
    records = read_records(path)
    path.write_bytes(b'{"v": "a"}\n')
    with pytest.raises(DataError, match=r"record 2 of .* is not what it was"):
        records[1]
    path.write_bytes(b"\n" * 22)
    with pytest.raises(DataError, match=r"record 1 of .* has changed; open it again"):
        records[0]


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_records(tmp_path / "none.tsv")
    with pytest.raises(ConfigError, match=r"name must end in \.tsv, \.csv"):
        read_records(tmp_path / "none.txt")
    with pytest.raises(DataError, match="a folder, not a regular file"):
        ParallelText(tmp_path, tmp_path)
    path = write(tmp_path / "t.tsv", "German\tEnglish\na\tb\n")
    with pytest.raises(ConfigError, match="no column 'german': did you mean 'German'"):
        read_records(path, {"source": "german"})
    with pytest.raises(ConfigError, match="kind='word'"):
        read_records(path, {"source": Column("German", "word")})
    with pytest.raises(ConfigError, match="broken='ignore' must be one of"):
        read_records(path, broken="ignore")
    with pytest.raises(ConfigError, match="max_broken=2"):
        read_records(path, max_broken=2)
    with pytest.raises(ConfigError, match="name at least one column"):
        read_records(path, {})
    for content, says in [("a\ta\n", "a name stands in it twice"), ("a\tb\n", "it has no records"), ("", "no records")]:
        with pytest.raises(DataError, match=says):
            read_records(write(tmp_path / "u.tsv", content))


def test_a_table_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "a\tb\nc\td\n")
    assert TableRecords(path, {"y": "two"}, names=["one", "two"])[1] == {"y": "d"}
    with pytest.raises(ConfigError, match="no column 'three'"):
        TableRecords(path, {"y": "three"}, names=["one", "two"])
    with pytest.raises(ConfigError, match="must name every column of the file once"):
        TableRecords(path, names=["one", "one"])


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    write(one, '{"a": "x", "b": "y"}\n')
    write(two, '{"a": "x", "b": "y"}\n')
    assert read_records(one).fingerprint == read_records(two).fingerprint
    other = [read_records(one, {"a": "a"}), read_records(one, {"a": "b"}), read_records(one).take([0, 0])]
    write(two, '{"a": "x", "b": "z"}\n')
    prints = {records.fingerprint for records in [read_records(one), read_records(two), *other]}
    assert len(prints) == 5
    assert all(len(found) == 64 for found in prints)


def test_labelled_texts_in_folders(tmp_path: Path) -> None:
    for name, text in {"pos/2.txt": "good\r\n", "pos/1.txt": "fine", "neg/deep/3.txt": "bad", "neg/x.md": "no"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, text)
    (tmp_path / "pos" / "link.txt").symlink_to(tmp_path / "pos" / "1.txt")
    records = LabelledFolder(tmp_path)
    assert records.classes == ["neg", "pos"]
    assert [*records] == [
        {"text": "bad", "label": "neg"},
        {"text": "fine", "label": "pos"},
        {"text": "good\n", "label": "pos"},
    ]
    write(tmp_path / "pos" / "0.txt", b"\xff")
    with pytest.raises(DataError, match=r"pos/0\.txt: not UTF-8"):
        LabelledFolder(tmp_path)
    skipped = LabelledFolder(tmp_path, broken="skip", max_broken=0.3)
    assert [record["text"] for record in skipped] == ["bad", "fine", "good\n"]
    assert skipped.fingerprint == records.fingerprint
    with pytest.raises(DataError, match="needs one folder for each class"):
        LabelledFolder(tmp_path / "pos")
    with pytest.raises(DataError, match="no folder"):
        LabelledFolder(tmp_path / "none")


def test_parts_and_several_files(tmp_path: Path) -> None:
    names = [
        write(tmp_path / f"{i}.jsonl", "".join(f'{{"n": {10 * i + j}}}\n' for j in range(i + 1))) for i in range(4)
    ]
    records = read_records(names)
    numbers = [record["n"] for record in records]
    assert numbers == [0, 10, 11, 20, 21, 22, 30, 31, 32, 33]
    assert records.place(5).endswith("2.jsonl: record 3")
    train, val = records.split(0.3, seed=1)
    assert (len(train), len(val)) == (7, 3)
    assert sorted(record["n"] for record in (*train, *val)) == numbers
    assert [*train] == [*records.split(0.3, seed=1)[0]]
    assert [*val] != [*records.split(0.3, seed=2)[1]]
    assert records.take([3, 3, 0]).take([2])[0]["n"] == 0
    with pytest.raises(DataError, match="rows from 10 to 10"):
        records.take([10])
    with pytest.raises(DataError, match="leaves one part empty"):
        records.split(0.01)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        records.split(1.0)
    with pytest.raises(DataError, match="need the same columns"):
        JoinedRecords([records, MemoryRecords([{"m": 1}])])


def test_records_in_memory_are_checked_when_columns_are_named() -> None:
    rows = [{"source": "a", "target": ""}, {"source": "b", "target": "c"}]
    assert len(MemoryRecords(rows)) == 2
    with pytest.raises(DataError, match="rows:0: column 'target' is empty"):
        MemoryRecords(rows, {"source": "source", "target": "target"})
    kept = MemoryRecords(rows, {"target": "target"}, broken="skip", max_broken=0.5)
    assert [*kept] == [{"target": "c"}]
    assert len(MemoryRecords([])) == 0
    images = [MemoryRecords([{"image": np.full((1, 2, 2), i, np.uint8)}]).fingerprint for i in (0, 0, 1)]
    assert images[0] == images[1] != images[2]


def test_generated_records_are_functions_of_the_seed_and_the_number() -> None:
    def make(seed: int) -> GeneratedRecords:
        return GeneratedRecords("numbers", 5, lambda key, i: {"i": i, "x": uniform_number(key)}, seed=seed)

    one = make(0)
    backwards = [one[i] for i in (4, 3, 2, 1, 0)][::-1]
    assert backwards == [*make(0)]
    assert len({record["x"] for record in (*one, *make(1))}) == 10
    assert one.fingerprint == make(0).fingerprint != make(1).fingerprint
    with pytest.raises(ConfigError, match="count=0"):
        GeneratedRecords("none", 0, lambda key, i: {})
