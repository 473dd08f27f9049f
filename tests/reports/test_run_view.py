"""A run folder as a notebook shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitrain.errors import CheckpointError
from minitrain.folder.names import METRICS
from minitrain.reports import RunView
from minitrain.runs import start_run
from tests.helpers.small_runs import small_config
from tests.helpers.small_trainers import make
from tests.helpers.texts.html_checks import page_of


def test_a_run_on_a_text(tmp_path: Path, no_pictures: None) -> None:
    result = start_run(small_config(tmp_path)).train()
    view = RunView(tmp_path / "run")
    assert view.rows["updates"] == str(result.training.step)
    assert view.rows["val loss"].startswith(f"{result.validation.loss:.4f}")
    page = page_of(view)
    assert str(tmp_path / "run") in page.texts
    assert any(text.startswith("validation ") for text in page.texts)
    assert (tmp_path / "run" / "config.yaml").read_text() in page.texts
    assert str(view).splitlines()[0].split() == ["run", str(tmp_path / "run")]
    assert page_of(result).text.startswith("trained ")


def test_hostile_settings_and_metrics_are_text(tmp_path: Path) -> None:
    make(tmp_path / "run").train()
    (tmp_path / "run" / "config.yaml").write_bytes(b"<script>alert(1)</script>\xff")
    with (tmp_path / "run" / METRICS).open("a") as file:
        file.write('{"step": 9, "loss": 1.5, "</div><script>": 1}\n{"torn": ')
    view = RunView(tmp_path / "run")
    assert view.rows["updates"] == "9"
    assert "<script>alert(1)</script>\N{REPLACEMENT CHARACTER}" in page_of(view).texts


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError):
            RunView(folder)
    (tmp_path / METRICS).symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="link"):
        RunView(tmp_path)
