"""Optuna chooses: values of the ranges, the same after an interruption, better than by chance."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from minitrain.cli import main
from minitrain.cli.sweep.values import read_range
from minitrain.errors import ConfigError
from minitrain.runs.sweep.search import Options, Range, Search, Span, Value, result_of
from tests.helpers.small_runs import SMALL, TEXT

SPACE: dict[str, Range] = {
    "x": Span(0.001, 1.0, log=True),
    "n": Span(2, 10, whole=True, step=4),
    "kind": Options(("a", "b")),
}


def distance(values: dict[str, Value]) -> float:
    """From 0.1, in powers of ten."""
    return abs(math.log10(float(values["x"])) + 1)


def searched(trials: int, rounds: list[int], direction: str = "minimize") -> Search:
    """A search for the x nearest to 0.1, in rounds of so many."""
    search = Search(trials, direction=direction, ranges=SPACE)
    sign = 1 if direction == "minimize" else -1
    for count in rounds:
        results = {name: sign * distance(values) for name, values in search.chosen.items() if values["n"] != 6}
        for values in search.suggest(count, results):
            search.chosen[str(len(search.chosen))] = values
    return search


def test_values_lie_in_their_ranges() -> None:
    pytest.importorskip("optuna")
    chosen = searched(12, [4, 4, 4]).chosen.values()
    assert all(one.allows(values[key]) for values in chosen for key, one in SPACE.items())
    assert {values["n"] for values in chosen} <= {2, 6, 10}
    assert len({values["x"] for values in chosen}) == 12


def test_a_search_that_was_interrupted_chooses_the_same() -> None:
    pytest.importorskip("optuna")
    whole, part = searched(8, [2, 2, 2, 2]), searched(8, [2, 2])
    part = Search.from_dict(json.loads(json.dumps(part.to_dict())))  # as from disk
    for count in (2, 2):
        results = {name: distance(v) for name, v in part.chosen.items() if v["n"] != 6}
        for values in part.suggest(count, results):
            part.chosen[str(len(part.chosen))] = values
    assert part.chosen == whole.chosen


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_learns(direction: str) -> None:
    pytest.importorskip("optuna")
    chosen = list(searched(40, [1] * 40, direction).chosen.values())
    far = [sum(distance(values) for values in part) for part in (chosen[:10], chosen[-10:])]
    assert far[1] < 0.6 * far[0]
    assert sum(values["n"] == 6 for values in chosen[-20:]) <= 7, "it does not dwell on what fails"


def test_ranges_in_the_grammar() -> None:
    assert read_range("a.b=interval(0,1)") == Span(0.0, 1.0)
    assert read_range("a.b=int(interval(1,8))") == Span(1, 8, whole=True)
    assert read_range("a.b=tag(log,interval(1e-4,0.1))") == Span(1e-4, 0.1, log=True)
    assert read_range("a.b=range(1,5)") == Span(1, 4, whole=True, step=1)
    assert read_range("a.b=range(64,0,-16)") == Span(16, 64, whole=True, step=16)
    assert read_range("a.b=range(0.0,0.5,0.2)") == Span(0.0, 0.4, step=0.2)
    assert read_range("optimizer=adamw,lion") == Options(("adamw", "lion"))
    assert read_range("scheduler=glob(c*)") == Options(("constant", "cosine_restarts"))
    assert read_range("a.b=3") is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("a.b=interval(1,0)", "an interval goes from a number to a higher one"),
        ("a.b=tag(log,interval(0,1))", r"tag\(log, ...\) takes an interval above 0"),
        ("a.b=tag(logarithm,interval(1,2))", "the one tag is log, for an interval or a range, not logarithm"),
        ("a.b=tag(log,choice(1,2))", "the one tag is log"),
    ],
)
def test_wrong_ranges(argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_range(argument)


def test_the_result_is_the_last_value(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "val_loss": 3}\n{"step": 2, "val_loss": 2.5}\n{"loss": 1}\n')
    assert result_of(tmp_path, "val_loss") == 2.5
    with pytest.raises(ConfigError, match="logged no val_los; it logged loss, step, val_loss"):
        result_of(tmp_path, "val_los")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def test_a_search_runs_and_goes_on(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    arguments = [
        "optimizer.learning_rate=tag(log,interval(1e-3,1e-1))",
        "model.n_embd=8,12",
        "model.n_head=2,3",
        "run_dir=s",
    ]
    main(["train", "--multirun", "--search", "optuna", "--trials", "3", *SMALL, *arguments])
    said, _ = capfd.readouterr()
    first = json.loads((here / "s" / "sweep.json").read_text())["search"]["chosen"]
    assert len(first) == 3
    assert "best        " in said
    failed = [name for name, values in first.items() if (values["model.n_embd"], values["model.n_head"]) == ("8", "3")]
    for name in failed:  # such a run fails alone
        assert f"{name} failed: model.n_embd = 8 is not a multiple" in said

    main(["train", "--multirun", "--resume", "s", "--trials", "5"])
    said, _ = capfd.readouterr()
    assert said.count("finished before") == 3 - len(failed)
    second = json.loads((here / "s" / "sweep.json").read_text())["search"]["chosen"]
    assert len(second) == 5
    assert {name: second[name] for name in first} == first


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--search", "grid", "seed=1,2"], "--search grid: the one search is optuna"),
        (["--search", "optuna", "seed=1"], "--search has nothing to choose"),
        (["--search", "optuna", "seed=1,x"], "seed must be a whole number, got 'x'"),
        (
            ["--search", "optuna", "model.n_layer=interval(1,4)"],
            "(whole numbers are model.n_layer=int(interval(LOW,HIGH)))",
        ),
        (
            ["--search", "optuna", "seed=1,2", "search.direction=up"],
            "search.direction must be 'minimize' or 'maximize'",
        ),
        (["--search", "optuna", "seed=1,2", "search.metrc=loss"], "search has no setting metrc; did you mean metric"),
        (["--search", "optuna", "seed=1,2", "--trials", "0"], "--trials must be at least 1, got 0"),
        (["--search", "optuna", "data.path=text.txt,gone.txt"], "there is no file or folder gone.txt"),
        (["--trials", "3", "seed=1,2"], "belong to a search: add --search optuna"),
        (["--launcher", "slrum", "seed=1,2"], "did you mean 'slurm'"),
        (["--launcher", "serial", "--jobs", "2", "seed=1,2"], "--launcher serial does one run at a time"),
        (["--jobs", "2", "launcher.job=3", "seed=1,2"], "launcher joblib has no setting job; did you mean jobs"),
    ],
)
def test_mistakes(arguments: list[str], complaint: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--multirun", *SMALL, *arguments]) == 2
    errors = capfd.readouterr().err
    assert complaint in errors
    assert len(errors.splitlines()) == 1
    assert not (here / "runs").exists()


def test_a_metric_that_no_run_logs(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    arguments = ["--search", "optuna", "--trials", "3", "seed=1,2", "search.metric=val_los", "run_dir=s"]
    assert main(["train", "--multirun", *SMALL, *arguments]) == 2
    assert "search.metric: the run in s/0_seed=" in capfd.readouterr().err
    assert len(json.loads((here / "s" / "sweep.json").read_text())["runs"]) == 1, "it stops after the first"


def test_options_of_sweeps_alone(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "--jobs", "2"]) == 2
    assert capfd.readouterr().err == "minitrain: error: --jobs is for sweeps: add --multirun\n"
