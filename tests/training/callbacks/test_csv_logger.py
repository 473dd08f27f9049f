"""Records as a table: columns that grow, and a resumed run whose file is that of one that was never interrupted."""

from __future__ import annotations

import csv
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import CheckpointError
from minitrain.files import FileError
from minitrain.records import read_metrics
from minitrain.records.csv_file import CsvFile
from minitrain.records.jsonl import TIMING
from minitrain.training import Callback, CsvLogger
from tests.helpers.interrupted_runs import interrupted
from tests.helpers.small_trainers import make


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_what_the_jsonl_has(tmp_path: Path) -> None:
    make(tmp_path / "run", CsvLogger()).train()
    rows = [{name: float(cell) for name, cell in row.items() if cell} for row in table(tmp_path / "run/metrics.csv")]
    assert rows == read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 8


@settings(max_examples=30)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["step", "loss", "lr", 'a, "b"']), st.one_of(st.floats(), st.integers(), st.none())
        ),
        max_size=8,
    )
)
def test_columns_grow_and_rows_before_have_empty_cells(records: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        file = CsvFile(path)
        for record in records:
            file.write(record)
        file.close()
        records = [record for record in records if record]
        names = list(dict.fromkeys(name for record in records for name in record))
        cells = [["" if record.get(name) is None else str(record[name]) for name in names] for record in records]
        with open(path, newline="") as text:
            assert list(csv.reader(text)) == ([names, *cells] if records else [])
        again = CsvFile(path)
        again.close()
        assert (again.columns, again.rows) == (names, len(records))


def test_a_resumed_run_ends_in_the_same_table(tmp_path: Path) -> None:
    class Late(Callback):
        """A column that comes after the checkpoint of step 4."""

        def on_log(self, view: Any, record: dict[str, Any]) -> None:
            if view.step > 5:
                record["late"] = view.step / 3

    make(tmp_path / "whole", Late(), CsvLogger()).train()
    interrupted(tmp_path / "run", 7, Late(), CsvLogger())
    assert "late" in table(tmp_path / "run" / "metrics.csv")[0]
    again = make(tmp_path / "run", Late(), CsvLogger())
    assert again.resume() == 4
    again.train()
    tables = [table(tmp_path / name / "metrics.csv") for name in ("whole", "run")]
    assert list(tables[0][0]) == list(tables[1][0])  # the same columns in the same order
    exact = [[{k: v for k, v in row.items() if k not in TIMING} for row in rows] for rows in tables]
    assert exact[0] == exact[1]


def test_resumed_before_the_first_checkpoint_the_table_begins_anew(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", 3, CsvLogger())
    again = make(tmp_path / "run", CsvLogger())
    assert again.resume() == 0
    again.train()
    assert [row["step"] for row in table(tmp_path / "run" / "metrics.csv")] == ["1", "2", "3", "4", "6", "6", "8", "8"]


def test_a_torn_line_is_cut_and_lost_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("step,loss\n1,0.5\n2,0.4\n3,0.")
    file = CsvFile(path)
    assert (file.columns, file.rows) == (["step", "loss"], 2)
    assert not file.truncate(3, 2)
    file.write({"step": 3, "loss": math.nan})
    assert file.truncate(3, 1)
    file.close()
    assert path.read_text() == "step\n1\n2\n3\n"


def test_lost_rows_are_a_warning(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", 7, CsvLogger())
    (tmp_path / "run" / "metrics.csv").write_text("step,loss\n1,0.5\n")
    again = make(tmp_path / "run", CsvLogger())
    warnings: list[str] = []
    again.warn = warnings.append
    again.resume()
    again.train()
    assert len(warnings) == 1
    assert "metrics.csv lacks records from before step 4" in warnings[0]


def test_a_table_of_another_run_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("step\n1\n")
    with pytest.raises(CheckpointError, match=r"x\.csv holds the records of another run"):
        make(None, CsvLogger(tmp_path / "x.csv")).train()
    assert (tmp_path / "x.csv").read_text() == "step\n1\n"
    with pytest.raises(CheckpointError, match="CsvLogger has no file to write to"):
        make(None, CsvLogger()).train()


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    make(None, CsvLogger(tmp_path / "new" / "folder" / "x.csv")).train()
    assert (tmp_path / "new" / "folder" / "x.csv").read_text().startswith("step,loss")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileError, match="a file of that name is in the way"):
        make(None, CsvLogger(tmp_path / "file" / "x.csv")).train()
    assert (tmp_path / "file").read_text() == "mine"
