"""``minitrain data``: it lists data sets, says how to get one, checks it and shows some of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitrain.cli import main
from minitrain.data.catalog.entries import CATALOG


def test_all_data_sets_are_listed_with_the_way_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    said = capsys.readouterr().out
    for entry in CATALOG.values():
        assert f"{entry.name:<15}{entry.title}\n" in said
        assert entry.licence in said or not entry.get
        assert entry.get in said or entry.find() is not None


def test_a_generated_data_set_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "shapes"]) == 0
    said = capsys.readouterr().out
    assert "train      8,192 records of image, caption, label" in said
    assert said.count('image: uint8 (3, 32, 32)  caption: "') == 3


def test_files_of_your_own_are_taken_unchecked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'ab' * (n + 1)} {' '.join(['AE1', 'B'] * (n + 1))}" for n in range(60)]
    (tmp_path / "cmudict.dict").write_text("\n".join(lines) + "\n")
    assert main(["data", "cmudict", "--path", str(tmp_path)]) == 2
    assert "is not what the figures of cmudict were measured on" in capsys.readouterr().err
    assert main(["data", "cmudict", "--path", str(tmp_path), "--unchecked"]) == 0
    said = capsys.readouterr().out
    assert "files      not checked" in said
    assert "train      53 records of source, target\n" in said
    assert 'source: "abab"  target: "AE B AE B"' in said


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "shape"]) == 2
    assert "did you mean 'shapes'" in capsys.readouterr().err
    assert main(["data", "fashion", "--path", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "which is not there" in said and "apt install dataset-fashion-mnist" in said
