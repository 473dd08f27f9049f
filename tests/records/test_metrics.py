"""The metrics file: nothing lost, nothing invented, readable whatever happened to its end."""

from __future__ import annotations

import errno
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.files import FileError
from minitrain.records import MetricsWriter, read_metrics

_records = st.lists(
    st.dictionaries(st.text(max_size=6), st.floats() | st.integers() | st.text(max_size=6), max_size=4), max_size=5
)


def _same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    """Equality in which NaN equals NaN."""
    return repr(first) == repr(second)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@given(records=_records)
def test_records_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    with MetricsWriter(path) as writer:
        for record in records:
            writer.write(record)
    finite = [
        {name: math.nan if isinstance(value, float) and math.isinf(value) else value for name, value in record.items()}
        for record in records
    ]
    assert _same(read_metrics(path), finite)


def test_lines_are_strict_json_also_for_nan_and_numpy(path: Path) -> None:
    with MetricsWriter(path) as writer:
        writer.write({"a": math.nan, "b": -math.inf, "c": np.float32(0.5), "d": np.int64(3), "e": np.array(2.0)})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {"a": None, "b": None, "c": 0.5, "d": 3, "e": 2.0}


def test_each_record_is_in_the_file_at_once(path: Path) -> None:
    with MetricsWriter(path) as writer:
        for step in range(3):
            writer.write({"step": step})
            assert len(read_metrics(path)) == step + 1
            assert writer.offset() == writer.sync() == path.stat().st_size


def test_a_writer_appends_to_what_is_there(path: Path) -> None:
    for step in range(2):
        with MetricsWriter(path) as writer:
            writer.write({"step": step})
    assert read_metrics(path) == [{"step": 0}, {"step": 1}]


def test_truncating_forgets_what_came_after(path: Path) -> None:
    with MetricsWriter(path) as writer:
        writer.write({"step": 1})
        offset = writer.offset()
        writer.write({"step": 2})
        assert writer.truncate(offset)
        writer.write({"step": 3})
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_truncating_a_file_that_lost_records_cuts_its_torn_line_and_says_so(path: Path) -> None:
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    with MetricsWriter(path) as writer:
        assert not writer.truncate(1000)
        writer.write({"step": 3})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 3}\n'


@given(cut=st.integers(min_value=0, max_value=60))
def test_a_torn_last_line_is_passed_over(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    text = b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25}\n'
    path.write_bytes(text[:cut])
    complete = text[:cut].count(b"}")
    assert read_metrics(path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}][:complete]


@given(content=st.binary(max_size=200))
def test_any_file_can_be_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + content + b'\n[]\n3\nnull\n{"step": 2}\n')
    records = read_metrics(path)
    assert records[0] == {"step": 1}
    assert records[-1] == {"step": 2}


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    class Full(io.FileIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "full")

    with MetricsWriter(tmp_path / "metrics.jsonl") as writer:
        writer._file.close()
        writer._file = Full(tmp_path / "metrics.jsonl", "a")
        with pytest.raises(FileError, match=r"metrics\.jsonl.*disk is full"):
            writer.write({"step": 1})


def test_a_missing_folder_is_made_and_a_missing_file_is_named(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "new" / "metrics.jsonl") as writer:
        writer.write({"step": 1})
    assert read_metrics(tmp_path / "new" / "metrics.jsonl") == [{"step": 1}]
    with pytest.raises(FileError, match="a file of that name is in the way"):
        MetricsWriter(tmp_path / "new" / "metrics.jsonl" / "metrics.jsonl")
    with pytest.raises(FileError, match="metrics"):
        read_metrics(tmp_path / "metrics.jsonl")
