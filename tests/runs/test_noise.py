"""Runs against the first of them on the samples that both were evaluated on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.folder.names import EVALUATION
from minitrain.measures import Difference, ErrorRate, SampleTable, compare_samples
from minitrain.runs import RunConfig, compare_evaluations, evaluate_run, start_run
from minitrain.runs.comparison.noise import Noise
from tests.helpers.small_runs import small_config

LOSSES = np.random.default_rng(0).exponential(2, 40)


def evaluated(folder: Path, name: str, better: float, data: str = "d", samples: int = 40) -> Path:
    """A folder with an evaluation in which each sample has a loss smaller by this."""
    rows = np.stack([LOSSES - better * (1 + np.arange(40) % 3), np.ones(40)], axis=1)[:samples]
    (folder / name).mkdir()
    SampleTable({"loss": ErrorRate()}, {"loss": rows}, {}, data).save(folder / name / EVALUATION)
    return folder / name


def test_differences_of_samples_are_told_from_noise(tmp_path: Path) -> None:
    a, same, better = (evaluated(tmp_path, name, by) for name, by in (("a", 0.0), ("same", 0.0), ("better", 0.1)))
    found = compare_evaluations([a, same, better], resamples=200)
    assert found.first == "a"
    assert list(found.differences["loss"]) == ["same", "better"]
    assert found.differences["loss"]["same"].p == 1
    tables = [SampleTable.load(one / EVALUATION) for one in (a, better)]
    alone = compare_samples(*tables, resamples=200)["loss"]
    assert found.differences["loss"]["better"] == alone._replace(p=2 * alone.p), "of two comparisons"
    lines = found.describe().splitlines()
    assert lines[0] == "loss, difference from a on the same held-out samples"
    assert lines[1].startswith("  same ")
    assert lines[1].endswith("within noise")
    assert "-0.19750" in lines[2]
    assert lines[2].endswith("more than noise")


def test_the_table_says_each_difference_its_interval_and_a_verdict() -> None:
    limit = 1 - 0.95
    runs = {"x": Difference(1, 0.75, -0.5, -0.125, 0.01), "y": Difference(1, 1.25, -0.5, 1, limit)}
    runs["z"] = Difference(1, 1.5, 0, 1, 0.5)
    assert Noise("a", {"loss": runs}, {"b": "it rains"}).describe().splitlines() == [
        "loss, difference from a on the same held-out samples",
        "  x                               -0.25000   95 % interval "
        "-0.50000 to -0.12500   p = 0.0100   more than noise",
        "  y                               +0.25000   95 % interval -0.50000 to +1.00000   p = 0.0500   within noise",
        "  z                               +0.50000   95 % interval +0.00000 to +1.00000   p = 0.5000   within noise",
        "  b                           not compared: it rains",
    ]


def test_runs_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path, "a", 0), evaluated(tmp_path, "other", 0, data="e"), evaluated(tmp_path, "b", 0)]
    runs += [evaluated(tmp_path, "few", 0, samples=39), tmp_path / "none", evaluated(tmp_path, "bad", 0)]
    (tmp_path / "none").mkdir()
    (tmp_path / "bad" / EVALUATION).write_text("x\n")
    found = compare_evaluations(runs, resamples=10)
    assert list(found.differences["loss"]) == ["b"]
    said = found.describe()
    for name, reason in {
        "other": "not compared: the two models were evaluated on different data",
        "few": "not compared: the two models were evaluated on 40 and 39 samples",
        "none": "not compared: it was not evaluated; minitrain eval does so",
        "bad": "is no table of samples",
    }.items():
        assert reason in next(line for line in said.splitlines() if line.startswith(f"  {name} ")), said


def test_two_evaluations_are_needed(tmp_path: Path) -> None:
    found = compare_evaluations([evaluated(tmp_path, "a", 0), tmp_path])
    assert not found.differences
    assert found.describe().startswith("noise       unknown until minitrain eval RUN")
    again = tmp_path / "again"
    again.mkdir()
    names = compare_evaluations([tmp_path / "a", evaluated(again, "a", 0)], resamples=10)
    assert list(names.differences["loss"]) == [str(again / "a")], "two folders of one name are told apart"
    empty = tmp_path / "empty" / "a"
    empty.mkdir(parents=True)
    names = compare_evaluations([empty, tmp_path / "a", again / "a"], resamples=10)
    assert list(names.left_out) == ["a"]
    assert names.first == str(tmp_path / "a")
    assert list(names.differences["loss"]) == [str(again / "a")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    values = small_config(tmp_path_factory.mktemp("run")).to_dict()
    started = start_run(RunConfig.from_dict({**values, "callbacks": ["ema"]}))
    started.trainer.train()
    return started


def test_eval_keeps_what_compare_needs(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place = Path(run.run_dir)
    assert main(["compare", str(place), str(place)]) == 0
    assert "noise       unknown" in capsys.readouterr().out
    assert main(["eval", str(place)]) == 0
    said = capsys.readouterr().out
    assert f"kept       {place / EVALUATION}" in said
    kept, found = SampleTable.load(place / EVALUATION), evaluate_run(place)
    assert found.samples is not None
    assert kept.values() == found.samples.values() == {"loss": found.loss}
    assert kept.data == found.samples.data
    assert kept.rows["loss"][:, 1].sum() == found.tokens
    assert main(["compare", str(place), str(place)]) == 0
    assert "within noise" in capsys.readouterr().out


def test_trained_weights_instead_of_averaged_ones(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    averaged, trained = (evaluate_run(run.run_dir, averaged=which) for which in (True, False))
    assert (averaged.averaged_by, trained.averaged_by) == ("EMA", "")
    assert averaged.loss != trained.loss
    assert trained.loss == pytest.approx(run.trainer.validate(averaged=False)["val_loss"], rel=1e-12)
    assert averaged.loss == pytest.approx(run.trainer.validate()["val_loss"], rel=1e-12)
    assert main(["eval", str(run.run_dir), "--trained-weights"]) == 0
    assert f"{trained.loss:.4f}" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_changes_no_result(
    run: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(run.run_dir) / EVALUATION).unlink(missing_ok=True)
    (Path(run.run_dir) / EVALUATION).mkdir()
    assert main(["eval", str(run.run_dir)]) == 0
    said = capsys.readouterr()
    assert "validation" in said.out
    assert "the losses of the windows are not kept" in said.err
    (Path(run.run_dir) / EVALUATION).rmdir()
