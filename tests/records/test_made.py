"""What a model made of the same inputs at each evaluation: files come back, and damaged ones are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import DataError
from minitrain.folder import RunFolder
from minitrain.records.made import LARGEST, LONGEST, MOST_STEPS, Made, by_input, read_made, write_made

ROWS = st.lists(st.builds(Made, st.text(), st.text(), st.text(), st.booleans()), max_size=8)


@given(st.dictionaries(st.integers(0, 10**9), ROWS, max_size=9))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, made: dict[int, list[Made]]) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("made"))
    for step, rows in made.items():
        write_made(folder, step, rows)
    found = read_made(folder)
    assert len(found) == min(len(made), MOST_STEPS)
    assert list(found) == sorted(found)
    if made:
        assert {min(made), max(made)} <= found.keys()
    assert all(found[step] == made[step] for step in found)


def test_long_texts_are_cut_and_the_largest_file_can_be_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    long = "\N{GRINNING FACE}" * 1000
    write_made(folder, 1, [Made(long, long, long, True)] * 8)
    (kept,) = read_made(folder).values()
    assert kept == [Made(long[:LONGEST], long[:LONGEST], long[:LONGEST], True)] * 8


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"[1]", b'[["a", "b", "c"]]', b'[["a", "b", "c", 1]]', b"[" * 2000, b"\xff"]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    write_made(folder, 7, [])
    (tmp_path / "samples" / "step-00000007.json").write_bytes(content)
    with pytest.raises(DataError, match=r"step-00000007\.json is damaged: .*delete it"):
        read_made(folder)


def test_other_files_are_left_alone_and_large_ones_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_made(folder) == {}
    write_made(folder, 1, [Made("a", "b", "c", False)])
    (tmp_path / "samples" / "step-00000001.txt").write_text("a sample")
    assert read_made(folder) == {1: [Made("a", "b", "c", False)]}
    (tmp_path / "samples" / "step-00000002.json").write_text(json.dumps(["x" * LARGEST]))
    with pytest.raises(Exception, match="bytes"):
        read_made(folder)


def test_the_table_goes_by_inputs() -> None:
    first, second = Made("a", "A", "x", False), Made("a", "A", "A", True)
    other = Made("b", "B", "B", True)
    assert by_input({1: [first], 5: [second, other]}) == [{1: first, 5: second}, {5: other}]
