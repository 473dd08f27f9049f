"""``minitrain compare``: a few runs side by side, many in a ranking."""

from __future__ import annotations

from pathlib import Path

import pytest

import minitrain.runs
from minitrain.cli.compare import show_comparison
from minitrain.runs import Comparison

LOSSES = ["2.5000", "-", "1.5000", "2.0000"]


def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int, more: tuple[str, ...] = ()
) -> list[str]:
    """The lines that a comparison of ``count`` runs prints."""
    rows = {
        "steps": ["6"] * count,
        "training loss": LOSSES[:count],
        "validation loss": LOSSES[:count],
        "best validation loss": LOSSES[:count],
        "tokens/s": [f"{i},000" for i in range(count)],
        "seconds": ["1"] * count,
        "optimizer.learning_rate": [f"0.{i}" for i in range(count)],
    } | {name: [f"{i}" for i in range(count)] for name in more}
    order = sorted(range(count), key=lambda i: float(LOSSES[i].replace("-", "inf")))
    found = Comparison([f"run {i} [red]" for i in range(count)], rows, order[0], order, [{}] * count)
    monkeypatch.setattr(minitrain.runs, "compare_runs", lambda runs: found)
    monkeypatch.setattr(minitrain.runs, "plot_comparison", lambda comparison, path: path)
    monkeypatch.setenv("COLUMNS", "80")
    show_comparison(["a", "b"], Path("c.png"))
    return capsys.readouterr().out.splitlines()


def test_many_runs_have_a_row_each_the_best_first(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, 4)
    rows = [line for line in lines if "│" in line]
    assert [row.split("│")[1].strip() for row in rows] == [f"run {i} [red]" for i in (2, 3, 0, 1)]
    heading = next(line for line in lines if "run" in line)
    assert [cell.strip() for cell in heading.split("┃")[1:-1]] == [
        "run",
        "val loss",
        "learning_rate",
        "loss",
        "tokens/s",
    ]
    assert lines[-2:] == ["best        run 2 [red], validation loss 1.5000", "picture     c.png"]
    assert max(map(len, lines)) <= 80


def test_settings_of_one_name_keep_their_groups(capsys, monkeypatch):
    text = "".join(printed(capsys, monkeypatch, 4, ("a.name", "b.name")))
    assert "a.name" in text
    assert "b.name" in text


def test_a_few_runs_have_a_column_each(capsys, monkeypatch):
    lines = printed(capsys, monkeypatch, 3)
    assert all(f"run {i} [red]" in next(line for line in lines if "run 0" in line) for i in range(3))
    assert any("best validation loss" in line for line in lines)
    assert not any(line.startswith("best ") for line in lines)
