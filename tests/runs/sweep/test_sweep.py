"""Sweeps: what they take, the runs they make, and that a failure or Ctrl-C leaves the others in order."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minitrain.cli import main
from minitrain.cli.sweep.arguments import SweepArguments
from minitrain.cli.sweep.command import compose_sweep
from minitrain.errors import ConfigError, DataError
from minitrain.records import read_metrics
from minitrain.runs import Run, RunConfig, start_run
from minitrain.runs.sweep.store import begin_sweep, load_sweep
from tests.helpers.small_runs import SMALL, TEXT


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> Path:
    """A folder with a text; no pictures of single runs, which take most of the time of so short ones."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "text.txt",
        "a.txt",
        "b.txt",
        "my text.txt",
        "b, c.txt",
        "a, b.txt",
        "a (1).txt",
        "c d.txt",
        "a/b.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TEXT)
    return tmp_path


def compose(arguments: list[str]) -> tuple[Path, dict[str, RunConfig]]:
    folder, runs, _ = compose_sweep(SweepArguments.sort(arguments, None, None))
    return folder, runs


def at_step(monkeypatch: pytest.MonkeyPatch, name: str, step: int, action: Callable[[], object]) -> None:
    """Lets something happen in an update, counted from 0, of the run whose folder begins with ``name``."""

    def starting(config: RunConfig, **rest: Any) -> Run:
        run = start_run(config, **rest)
        schedule = run.trainer.setup.schedule

        def acting(number: int) -> float:
            if number == step:
                action()
            return float(schedule(number))

        if run.run_dir.name.startswith(name):
            run.trainer.setup.schedule = acting
        return run

    monkeypatch.setattr("minitrain.cli.sweep.command.start_run", starting)


def values(runs: dict[str, RunConfig], *path: str) -> list[Any]:
    found: list[Any] = list(runs.values())
    for name in path:
        found = [getattr(one, name) for one in found]
    return found


# What a sweep takes


SWEEPS = {
    "a list": (["model.n_layer=1,2"], ("model", "n_layer"), [1, 2]),
    "rates": (["optimizer.learning_rate=1e-2,3e-3"], ("optimizer", "learning_rate"), [1e-2, 3e-3]),
    "choice": (["model.n_layer=choice(1,3)"], ("model", "n_layer"), [1, 3]),
    "range": (["model.n_layer=range(1,4)"], ("model", "n_layer"), [1, 2, 3]),
    "range with steps": (["model.dropout=range(0.0,0.5,0.2)"], ("model", "dropout"), [0.0, 0.2, 0.4]),
    "options": (["optimizer=adamw,lion,sgd"], ("optimizer", "name"), ["adamw", "lion", "sgd"]),
    "glob": (["scheduler=glob([c*],exclude=cosine*)", "seed=1,2"], ("scheduler", "name"), ["constant"] * 2),
    "lists of lists": (
        ["scheduler=multi_step", "scheduler.milestones=[2],[2,4]"],
        ("scheduler", "milestones"),
        [(2,), (2, 4)],
    ),
    "words and null": (["model.loss_chunk=null,2"], ("model", "loss_chunk"), [None, 2]),
    "paths": (["data.path=a.txt,b.txt"], ("data", "path"), ["a.txt", "b.txt"]),
    "paths with signs": (["data.path=my text.txt,'b, c.txt'"], ("data", "path"), ["my text.txt", "b, c.txt"]),
    "a path with a comma": (["data.path='a, b.txt'", "seed=1,2"], ("data", "path"), ["a, b.txt"] * 2),
    "references": (
        ["model.n_embd=8,16", "trainer.batch_size=choice(${model.n_embd},4)"],
        ("trainer", "batch_size"),
        [8, 4, 16, 4],
    ),
    "sorted": (["model.n_layer=sort(3,1,2)"], ("model", "n_layer"), [1, 2, 3]),
    "sorted backwards": (["model.n_layer=sort(range(1,4),reverse=true)"], ("model", "n_layer"), [3, 2, 1]),
    "cast": (["optimizer.learning_rate=float(1,2)"], ("optimizer", "learning_rate"), [1.0, 2.0]),
    "a path with brackets": (["data.path=a (1).txt", "seed=1,2"], ("data", "path"), ["a (1).txt"] * 2),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_the_grammar_of_values(name: str) -> None:
    arguments, path, expected = SWEEPS[name]
    _, runs = compose([*SMALL, *arguments])
    assert values(runs, *path) == expected


def test_combinations_are_named_by_what_sets_them_apart() -> None:
    folder, runs = compose([*SMALL, "optimizer.learning_rate=1e-2,3e-3", "model.n_layer=1,2", "run_dir=my sweep"])
    assert folder == Path("my sweep")
    assert list(runs) == [
        "0_learning_rate=0.01,n_layer=1",
        "1_learning_rate=0.01,n_layer=2",
        "2_learning_rate=0.003,n_layer=1",
        "3_learning_rate=0.003,n_layer=2",
    ]
    assert values(runs, "run_dir") == [f"my sweep/{name}" for name in runs]
    folder, runs = compose([*SMALL, "data.path=c d.txt,a/b.txt", "seed=range(0,6)"])
    assert folder.parent == Path("runs")
    assert next(iter(runs)) == "00_path=c_d.txt,seed=0"
    assert list(runs)[-1] == "11_path=a_b.txt,seed=5"


MISTAKES = {
    "nothing to sweep": (["seed=1"], "--multirun has nothing to sweep: give a setting several values"),
    "one wrong value": (["model.n_layer=1,two"], "model.n_layer must be a whole number, got 'two'"),
    "one wrong option": (["optimizer=adamw,lyon"], r"there is no such optimizer; did you mean lion\?"),
    "unknown setting": (["model.n_lear=1,2"], "unknown setting model.n_lear; did you mean model.n_layer"),
    "values that do not fit": (["model.n_embd=8,9"], "model.n_embd = 9 is not a multiple of n_head = 2"),
    "an interval": (["model.dropout=interval(0,1)"], "has no single values; give some, such as model.dropout=1,2"),
    "a range in steps of nothing": (["seed=range(1,5,0)"], r"seed=range\(1,5,0\): range\(\) arg 3 must not be zero"),
    "an empty range": (["seed=range(1,1)"], r"seed=range\(1,1\) gives no values"),
    "a range without end": (["seed=range(0,1000000000000)"], "a sweep has at most 10,000 runs"),
    "too many": (["seed=range(0,200)", "model.n_layer=range(1,200)"], "at most 10,000 runs, and this has 39,800"),
    "a value twice": (["seed=1,2,1"], "0_seed=1 and 2_seed=1 would be the same run: a value is given twice"),
    "a number twice": (["optimizer.learning_rate=1e-3,0.001"], "would be the same run"),
    "a search without --search": (["seed=1,2", "search.metric=loss"], "belong to a search: add --search optuna"),
    "a glob of values": (["seed=glob(1*)"], "glob chooses among the options of a group, one of data, generation"),
    "a glob of nothing": (["optimizer=glob(z*)"], "matches none of the options: adafactor"),
    "a target": (["seed={_target_: os.system},1"], "_target_ is not allowed"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_before_anything_is_trained(name: str, here: Path) -> None:
    arguments, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        compose([*SMALL, *arguments])
    assert not list(here.glob("runs"))


def test_data_that_is_not_there_is_told_before_anything_is_trained(here: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder missing\.txt"):
        compose([*SMALL, "data.path=text.txt,missing.txt"])


def test_a_missing_ray_is_told_before_anything_is_trained(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ray = [*SMALL, "seed=1,2", "distributed=ray"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ray" else object())
    with pytest.raises(ConfigError, match=r"distributed=ray needs the package ray.*pip install 'minitrain\[ray\]'"):
        compose(with_ray)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert len(compose(with_ray)[1]) == 2


def test_shuffled_values_are_all_there() -> None:
    _, runs = compose([*SMALL, "seed=shuffle(range(1,9))"])
    assert sorted(values(runs, "seed")) == list(range(1, 9))


# Training


def test_a_sweep_trains_all_and_compares(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.getLogger().handlers)
    assert main(["train", "--multirun", *SMALL, "optimizer=adamw,lion", "run_dir=sweep"]) == 0
    said, errors = capfd.readouterr()
    assert errors == ""
    assert "run 2 of 2: 1_optimizer=lion" in said
    assert "optimizer.name" in said
    assert (here / "sweep" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    for name in ("0_optimizer=adamw", "1_optimizer=lion"):
        assert RunConfig.load(here / "sweep" / name / "config.yaml").optimizer.name == name.partition("=")[2]
        assert read_metrics(here / "sweep" / name / "metrics.jsonl")[-1]["step"] == 6
    assert not {"outputs", "multirun", "runs"} & {path.name for path in here.iterdir()}, "Hydra makes no folder"
    assert (Path.cwd(), logging.getLogger().handlers) == (here, handlers)


def test_a_run_that_fails_does_not_stop_the_others(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "short.txt").write_text("too short")
    arguments = [*SMALL, "data.path=text.txt,short.txt,a.txt", "run_dir=sweep"]
    assert main(["train", "--multirun", *arguments]) == 1
    said, errors = capfd.readouterr()
    assert errors.startswith("minitrain: error: ")
    assert len(errors.splitlines()) == 1
    assert "failed: 1_path=short.txt" in said
    assert (here / "sweep" / "2_path=a.txt" / "report.html").exists()
    assert (here / "sweep" / "comparison.png").exists()


def test_a_bug_in_a_run_does_not_stop_the_others(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at_step(monkeypatch, "0_", 2, lambda: 1 / 0)
    assert main(["train", "--multirun", *SMALL, "seed=1,2", "run_dir=sweep"]) == 1
    said, errors = capfd.readouterr()
    assert "this is a bug in minitrain: ZeroDivisionError" in errors
    assert (here / "sweep" / "0_seed=1" / "traceback.txt").exists()
    assert "failed: 0_seed=1" in said
    assert (here / "sweep" / "1_seed=2" / "report.html").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_sweep_and_it_can_go_on(
    number: signal.Signals, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--multirun", *SMALL, "seed=1,2,3", "run_dir=whole"]) == 0
    with monkeypatch.context() as patch:
        at_step(patch, "1_", 3, lambda: os.kill(os.getpid(), number))
        assert main(["train", "--multirun", *SMALL, "seed=1,2,3", "run_dir=a sweep"]) == 128 + number
    _, errors = capfd.readouterr()
    assert errors == (
        "minitrain: the sweep is stopped in run 2 of 3; go on with: minitrain train --multirun --resume 'a sweep'\n"
    )
    assert not (here / "a sweep" / "2_seed=3").exists()

    assert main(["train", "--multirun", "--resume", "a sweep"]) == 0
    said, errors = capfd.readouterr()
    assert errors == ""
    assert "run 1 of 3: 0_seed=1\nfinished before" in said
    for name in ("0_seed=1", "1_seed=2", "2_seed=3"):
        ends = [
            here / folder / name / "checkpoints" / "step-00000006" / "model.safetensors"
            for folder in ("whole", "a sweep")
        ]
        assert ends[0].read_bytes() == ends[1].read_bytes()


def test_show_lists_the_runs_and_trains_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--multirun", "--show", *SMALL, "seed=1,2"]) == 0
    assert capfd.readouterr().out == "0_seed=1\n1_seed=2\n"
    assert not list(here.glob("runs"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--resume", "."], r". is not the folder of a sweep: it has no sweep\.json"),
        (["--resume", "begun", "seed=1"], "a resumed sweep keeps its settings: leave seed=1 out"),
        ([*SMALL, "seed=1,2", "run_dir=begun"], "begun holds a sweep already: go on with: minitrain train --multirun"),
        (["--resume", "begun", "--show"], "not allowed with argument"),
        (["model.n_layer=1,", "seed=3"], "cannot read model.n_layer=1, ("),
    ],
)
def test_what_cannot_be_begun_or_resumed(
    arguments: list[str], complaint: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "begun").mkdir()
    (here / "begun" / "sweep.json").write_text('{"version": 1, "runs": {}}')
    assert main(["train", "--multirun", *arguments]) == 2
    assert complaint.replace("\\", "") in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", DataError, "is damaged"),
        ("[]", DataError, "not a list of runs"),
        ('{"version": 1, "runs": {"../x": {}}}', DataError, "not a list of runs"),
        ('{"version": 1, "runs": {"x": 3}}', DataError, "the settings of a run are 3"),
        ('{"version": 1, "runs": {"x": {"sed": 3}}}', ConfigError, "did you mean seed"),
    ],
)
def test_a_damaged_list_of_runs(content: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(error, match=message):
        load_sweep(tmp_path)


def test_a_sweep_is_not_resumed_as_a_run(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "sweep.json").write_text('{"version": 1, "runs": {}}')
    assert main(["train", "--resume", "."]) == 2
    assert capfd.readouterr().err == "minitrain: error: . is a sweep, not a run: add --multirun\n"


def test_the_list_of_runs_gives_back_their_settings(tmp_path: Path) -> None:
    _, runs = compose([*SMALL, "optimizer=adamw,muon", "model=gpt,llama", f"run_dir={tmp_path}"])
    begin_sweep(tmp_path, runs)
    assert load_sweep(tmp_path).configs == runs
    assert list(json.loads((tmp_path / "sweep.json").read_text())["runs"]) == list(runs)
