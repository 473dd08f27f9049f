"""Parquet tables, if pyarrow is installed; what is said if it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minitrain.data import Column, read_records
from minitrain.errors import ConfigError, DataError


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"pip install 'minitrain\[parquet\]'"):
        read_records(tmp_path / "t.parquet")


def test_a_parquet_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    count = 3000
    table = pyarrow.table(
        {
            "de": [f"Satz {i}" if i != 7 else None for i in range(count)],
            "en": [[f"sentence {i}", "other"] for i in range(count)],
            "bytes": [b"x"] * count,
        }
    )
    path = tmp_path / "t.parquet"
    parquet.write_table(table, path, row_group_size=700)
    columns = {"source": "de", "target": Column("en", "texts")}
    with pytest.raises(DataError, match=r"t\.parquet:8: column 'de' is not of kind text"):
        read_records(path, columns)
    records = read_records(path, columns, broken="skip")
    assert len(records) == count - 1
    assert records[-1] == {"source": f"Satz {count - 1}", "target": [f"sentence {count - 1}", "other"]}
    assert records[7]["source"] == "Satz 8"
    assert len(records.fingerprint) == 64
    with pytest.raises(ConfigError, match="no column 'fr'"):
        read_records(path, {"source": "fr"})
    with pytest.raises(DataError, match=r"1: a value is no text, number or list of them"):
        read_records(path)
    for content in (b"PAR1", b"", path.read_bytes()[:-100], b"\0" * 1000):
        (tmp_path / "bad.parquet").write_bytes(content)
        with pytest.raises(DataError, match="pyarrow reads no Parquet from it"):
            read_records(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="no such file"):
        read_records(tmp_path / "none.parquet")
