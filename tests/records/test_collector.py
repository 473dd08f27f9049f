"""The history of a training: what it keeps, what it shows of troubles, its pictures and its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.cli import main
from minitrain.errors import CheckpointError, DataError
from minitrain.plotting.by_kind import group
from minitrain.records import LossLevels, MetricsCollector
from minitrain.reports import write_html_report
from minitrain.runs import compare_runs, plot_comparison, start_run
from tests.helpers.small_runs import small_config


def test_nested_figures_prefixes_and_arrays() -> None:
    metrics = MetricsCollector()
    metrics.update({"loss": 0.5, "accuracy": np.float32(0.75)}, prefix="train")
    metrics.update({"loss": np.array(0.4), "recalls": {"top1": 0.8, "top5": 0.95}}, prefix="val", step=7)
    metrics.update({"loss": 0.25}, prefix="train")
    assert metrics.get_metric("train_loss") == [0.5, 0.25]
    assert metrics.get_steps("train_loss") == [0, 1]
    assert (metrics.get_latest("val_recalls_top5"), metrics.get_steps("val_recalls_top5")) == (0.95, [7])
    assert metrics.names() == ["train_loss", "train_accuracy", "val_loss", "val_recalls_top1", "val_recalls_top5"]
    assert (metrics.get_metric("nothing"), metrics.get_latest("nothing")) == ([], None)
    with pytest.raises(DataError, match="the metric val_loss is 'low', not a number"):
        metrics.update({"loss": "low"}, prefix="val")
    metrics.clear()
    assert metrics.names() == []


def test_logging_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = MetricsCollector()
    metrics.log_metrics({"loss": 0.3, "recalls": {"top1": 0.5}}, prefix="test", step=4)
    assert capsys.readouterr().out == "step 4  test_loss 0.3  test_recalls_top1 0.5\n"
    assert metrics.get_latest("test_loss") == 0.3


def test_the_summary_knows_which_way_is_better() -> None:
    metrics = MetricsCollector({"reward_norm": "max"})
    for loss, accuracy in ((3.0, 0.1), (1.0, 0.6), (float("nan"), 0.5), (2.0, 0.4)):
        metrics.update({"loss": loss, "accuracy": accuracy, "reward_norm": loss})
    summary = metrics.get_summary()
    assert summary["loss"] == pytest.approx({"latest": 2.0, "best": 1.0, "mean": 2.0, "std": np.std([3, 1, 2])})
    assert (summary["accuracy"]["best"], summary["accuracy"]["latest"]) == (0.6, 0.4)
    assert summary["reward_norm"]["best"] == 3.0


def test_alignment_figures() -> None:
    metrics = MetricsCollector()
    for step, gap in ((10, 0.1), (20, 0.3)):
        metrics.update_alignment_metrics(step, diag_mean=0.8, sim_mean=0.5, alignment_gap=gap, alignment_snr=2.5)
    assert metrics.get_steps("alignment_gap") == [10, 20]
    assert metrics.get_summary()["alignment_gap"]["best"] == 0.3
    assert metrics.get_latest("alignment_snr") == 2.5


numbers = st.floats(allow_nan=False, width=64)
histories = st.dictionaries(st.text(min_size=1), st.lists(numbers, min_size=1, max_size=5), max_size=4)


@given(histories)
def test_a_history_survives_json(values: dict[str, list[float]]) -> None:
    metrics, copy = MetricsCollector(), MetricsCollector()
    for name, column in values.items():
        for step, value in enumerate(column):
            metrics.update({name: value}, step=3 * step)
    copy.from_dict(json.loads(json.dumps(metrics.to_dict())))
    assert copy.to_dict() == metrics.to_dict()


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@given(st.dictionaries(st.text(), anything) | anything)
def test_what_is_no_history_is_refused_and_changes_nothing(value: Any) -> None:
    metrics = MetricsCollector()
    metrics.update({"loss": 1.0})
    before = metrics.to_dict()
    try:
        metrics.from_dict(value)
    except DataError:
        assert metrics.to_dict() == before


def test_a_collector_diagnoses_itself() -> None:
    metrics = MetricsCollector()
    metrics.update({"loss": float("nan")}, prefix="train")
    assert [found.kind for found in metrics.diagnose_training_issues()] == ["not finite"]


def test_a_collector_uses_the_levels_that_it_was_given() -> None:
    metrics = MetricsCollector()
    for step in range(40):
        metrics.update({"train_loss": 2.3 + 1e-3 * (step % 3)}, step=step)
    assert [found.kind for found in metrics.diagnose_training_issues()] == ["plateau"]
    metrics.levels = LossLevels(guess=2.3)
    for history in (metrics, metrics.until(30)):
        assert [found.kind for found in history.diagnose_training_issues()] == ["ignores its input"]


# Pictures and pages.


def test_curves_of_a_kind_share_a_picture(tmp_path: Path) -> None:
    names = ["train_loss", "val_loss", "lr", "grad_norm", "grad_norm.a", "val_accuracy", "my_figure"]
    kinds_of = {"loss": ["train_loss", "val_loss"], "lr": ["lr"], "grad_norm": ["grad_norm", "grad_norm.a"]}
    assert group(dict.fromkeys(names)) == kinds_of | {"accuracy": ["val_accuracy"], "my_figure": ["my_figure"]}
    metrics = MetricsCollector()
    for step in range(60):
        for name in names:
            metrics.update({name: 1 / (step + 1) if step != 30 else float("nan")}, step=step)
    paths = metrics.plot_history(tmp_path / "plots")
    assert [path.name for path in paths] == ["loss.png", "lr.png", "grad_norm.png", "accuracy.png", "my_figure.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    with pytest.raises(DataError, match="nothing to draw"):
        MetricsCollector().plot_history(tmp_path)


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    metrics = MetricsCollector()
    metrics.update({"train_loss": float("nan"), "<b>": 3.0})
    pictures = metrics.plot_history(tmp_path)
    path = write_html_report(
        tmp_path / "report.html",
        title="Run <script>",
        history=metrics,
        summary="5 < 6",
        pictures=pictures,
        settings="seed: 1",
        versions={"numpy": "2.4"},
        sample="<i>to be</i>",
    )
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r"https?:|<script|<b>3|<i>|src=\"(?!data:)", page)
    for part in ("Run &lt;script&gt;", "5 &lt; 6", "&lt;b&gt;", "&lt;i&gt;to be", "seed: 1", "numpy 2.4", "not finite"):
        assert part in page


def test_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    folders = []
    for name, width in (("narrow", 8), ("wide", 32)):
        run = start_run(small_config(tmp_path / name, model_n_embd=width, trainer_max_steps=4))
        run.trainer.train()
        folders.append(run.run_dir.rename(tmp_path / f"run {name}"))
    comparison = compare_runs(folders)
    assert comparison.names == ["run narrow", "run wide"]
    assert comparison.rows["model.n_embd"] == ["8", "32"]
    assert comparison.rows["steps"] == ["4", "4"]
    assert "model.n_head" not in comparison.rows  # the same in both
    finals = [float(value) for value in comparison.rows["validation loss"]]
    assert comparison.best == int(np.argmin(finals))
    assert plot_comparison(comparison, tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["compare", *map(str, folders), "--picture", str(tmp_path / "c.png")]) == 0
    out = capsys.readouterr().out
    assert "model.n_embd" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    with pytest.raises(CheckpointError, match=r"is not the folder of a run; the runs in it are .*narrow"):
        compare_runs([folders[0], tmp_path])
    assert main(["compare", str(folders[0])]) == 2
