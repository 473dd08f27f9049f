"""Records of files of any kind, broken ones too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data.hygiene import sources
from minitrain.data.hygiene.sources import (
    Item,
    Source,
    _depth,
    inside_a_source,
    read_items,
    source_files,
    strings,
    text_of,
)
from minitrain.errors import ConfigError, DataError
from minitrain.files import make_room

LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def write(path: Path, content: bytes | str) -> Path:
    make_room(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path, unit: str) -> list[str]:
    return [item.row["text"] for item in read_items(Source(path), unit) if item.row]


@settings(max_examples=30)
@given(
    st.lists(st.lists(LINES, min_size=1, max_size=3), min_size=1, max_size=4),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 3),
)
def test_texts_come_apart_at_blank_lines_lines_or_files(
    folder: Path, records: list[list[str]], end: str, blank: int
) -> None:
    between = end + (end + " " * (blank - 1)) * blank
    file = write(folder / "t.txt", end + (between + end).join(end.join(lines) for lines in records) + end)
    whole = ["\n".join(lines) for lines in records]
    assert texts(file, "blank") == whole
    assert texts(file, "line") == [line for lines in records for line in lines]
    (one,) = texts(file, "file")
    assert [line for line in one.split("\n") if line.strip()] == [line for lines in records for line in lines]


def test_broken_texts_are_items_and_the_next_record_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_RECORD_BYTES", 20)
    file = write(
        folder / "b.txt", b"\xef\xbb\xbfgood\n\nbad \xff\nx\n\n\0\n\n0123456789\n0123456789\n\n0123456789\n012345678\n"
    )
    found = list(read_items(Source(file)))
    assert [(item.place, item.reason, item.raw) for item in found] == [
        (f"{file}:1", "", "good"),
        (f"{file}:3", "not UTF-8", "bad \\xff\nx"),
        (f"{file}:6", "holds a zero byte: it is not text", "\0"),
        (f"{file}:8", "longer than 16,777,216 bytes", ""),
        (f"{file}:11", "", "0123456789\n012345678"),
    ]
    assert [item.row for item in found] == [{"text": "good"}, None, None, None, {"text": "0123456789\n012345678"}]
    assert [item.reason for item in read_items(Source(file), "file")] == ["longer than 16,777,216 bytes"]


def test_a_huge_line_is_one_broken_record(folder: Path) -> None:
    file = write(folder / "huge.txt", b"a\n\n" + b"x" * ((1 << 24) + 1) + b"\n\nb\n")
    for unit in ("blank", "line"):
        assert [(item.place[-2:], item.row, item.reason) for item in read_items(Source(file), unit)] == [
            (":1", {"text": "a"}, ""),
            (":3", None, "longer than 16,777,216 bytes"),
            (":5", {"text": "b"}, ""),
        ]


def test_json_rows_may_differ_and_what_is_no_text_is_broken(folder: Path) -> None:
    deep = '{"a": ["x", ' + "[" * 100 + "]" * 100 + "]}"
    rows = [b'{"a": "x", "n": 1}', b'{"b": ["y", {"c": "z"}]}', b"{", b"[1]", b"", b'{"n": 1}', b'{"a": "\\ud800"}']
    file = write(folder / "r.jsonl", b"\n".join([*rows, deep.encode()]) + b"\n")
    found = list(read_items(Source(file)))
    assert [item.row for item in found[:2]] == [json.loads(row) for row in rows[:2]]
    assert [item.reason for item in found[2:]] == [
        "not JSON",
        "not a JSON object",
        "the line is empty",
        "has no text in it",
        "has half of a surrogate pair in it",
        "has more than 100 lists and objects inside each other",
    ]
    assert found[2] == Item(f"{file}:3", None, "not JSON", "{")
    assert [item.place for item in found] == [f"{file}:{number + 1}" for number in range(len(found))]


@pytest.mark.parametrize("inner", ["[{}]", '{{"b": {}}}'])
def test_a_hundred_lists_and_objects_inside_each_other_are_taken(folder: Path, inner: str) -> None:
    rows = []
    for depth in (99, 100, 101):
        row, value = {"a": "x", "deep": []}, "1"
        for _ in range(depth - 1):
            value = inner.format(value)
        rows.append(json.dumps(row | {"deep": json.loads(value)}))
    found = list(read_items(Source(write(folder / "r.jsonl", "\n".join(rows).encode()))))
    assert [item.row for item in found] == [json.loads(rows[0]), json.loads(rows[1]), None]
    assert [_depth(json.loads(row)) for row in rows] == [99, 100, 101]
    assert _depth("x") == 0


def test_a_file_begins_at_its_first_line_with_something_in_it(folder: Path) -> None:
    file = write(folder / "f.txt", b"\n \nhello\n\nthere\n\n")
    assert list(read_items(Source(file), "file")) == [
        Item(f"{file}:3", {"text": "hello\n\nthere"}, "", "hello\n\nthere")
    ]


def test_tables_keep_their_columns(folder: Path) -> None:
    tsv = write(folder / "t.tsv", 'de\ten\nein "Hund\ta dog\neine Katze\n')
    assert [item.row for item in read_items(Source(tsv))] == [{"de": 'ein "Hund', "en": "a dog"}, None]
    assert [item.reason for item in read_items(Source(tsv))] == ["", "has not 2 columns"]
    csv = write(folder / "t.csv", 'de,en\n"ein\nHund","a, dog"\n')
    assert [item.row for item in read_items(Source(csv))] == [{"de": "ein\nHund", "en": "a, dog"}]
    with pytest.raises(DataError, match="a name stands in it twice"):
        list(read_items(Source(write(folder / "w.csv", "a,a\n"))))
    with pytest.raises(DataError, match="does not name columns: not UTF-8"):
        list(read_items(Source(write(folder / "w.csv", b"\xff\n"))))


def test_parquet_rows(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"text": ["one", "two"], "raw": [b"", None]})
    parquet.write_table(table, folder / "t.parquet")
    found = list(read_items(Source(folder / "t.parquet")))
    assert [item.row for item in found] == [None, {"text": "two", "raw": None}]
    assert found[0].reason == "a value is no text, number or list of them"
    assert found[1].place.endswith("t.parquet: row 2")


def test_files_are_sorted_whatever_the_order_they_are_given_in(folder: Path) -> None:
    base = folder / "tree"
    for name in ("b/2.txt", "b/1.jsonl", "a.md", ".hidden/x.txt", "c.bin"):
        write(base / name, "x")
    expected = [Source(base / name) for name in ("a.md", "b/1.jsonl", "b/2.txt")]
    assert source_files(base) == expected
    assert source_files([base / "b" / "2.txt", base, base / "a.md"]) == expected
    assert source_files(base / "c.bin") == [Source(base / "c.bin")]
    assert [source.is_table for source in expected] == [False, True, False]


def test_a_folder_of_classes_has_labels(folder: Path) -> None:
    base = folder / "classes"
    for name in ("yes/1.txt", "no/sub/1.txt"):
        write(base / name, f"{name}\n\nmore\n")
    found = [item.row for source in source_files(base, "label") for item in read_items(source, "label")]
    assert found == [
        {"text": "no/sub/1.txt\n\nmore", "label": "no"},
        {"text": "yes/1.txt\n\nmore", "label": "yes"},
    ]
    assert all(source.is_table for source in source_files(base, "label"))
    with pytest.raises(ConfigError, match="is a file"):
        source_files(base / "yes" / "1.txt", "label")


def test_mistakes_in_names_are_told(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder .*none"):
        source_files(folder / "none")
    with pytest.raises(ConfigError, match="records='word' must be one of 'blank', 'line', 'file', 'label'"):
        source_files(folder, "word")
    write(folder / "empty" / "x.bin", "")
    with pytest.raises(DataError, match="holds no file"):
        source_files(folder / "empty")


def test_texts_of_a_row() -> None:
    row = {"a": "1", "b": ["2", {"c": "3", "d": 4}, None], "e": 5}
    assert list(strings(row)) == ["1", "2", "3"]
    assert text_of(row) == "1\n2\n3"
    assert text_of(row, ["b", "e"]) == "2\n3"


def test_a_folder_inside_a_source_is_noticed(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "tree")
    assert inside_a_source(folder / "tree" / "out", [folder / "link"])
    assert not inside_a_source(folder / "trees", [folder / "tree"])
