"""Sweeps whose runs are trained by several ranks each: every engine, a search, and stopping."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from minitrain.cli.options import ranks as options
from minitrain.cli.sweep.command import job_command
from minitrain.runs import RunConfig
from tests.distributed.test_processes import SETTINGS, TRAIN, run, summary, train
from tests.helpers.small_runs import TEXT
from tests.runs.sweep.test_stopped_sweeps import begun, command, processes_of

RANKS = ["distributed=processes", "ranks=2"]


def sweep(folder: Path, *more: str) -> Any:
    (folder / "text.txt").write_text(TEXT)
    result = run([*TRAIN, "--multirun", *SETTINGS, *RANKS, "run_dir=sweep", *more], folder, limit=500)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.mark.sweeps
@pytest.mark.parametrize(
    "engine",
    [["--launcher", "serial"], ["--jobs", "2"], ["--launcher", "ray", "launcher.jobs=2"]],
    ids=["serial", "joblib", "ray"],
)
def test_each_run_has_the_bytes_of_one_that_was_started_alone(tmp_path, engine):
    if "ray" in engine:
        pytest.importorskip("ray")
    found = sweep(tmp_path, "seed=1,2", *engine)
    for number, seed in enumerate((1, 2)):
        train(tmp_path, f"alone-{seed}", f"seed={seed}", "trainer.gradient_sum=tree")
        assert summary(tmp_path / f"sweep/{number}_seed={seed}") == summary(tmp_path / f"alone-{seed}")
    assert "failed" not in found.stdout
    assert not processes_of(tmp_path / "sweep")


@pytest.mark.sweeps
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_optuna_chooses_for_runs_on_ranks(tmp_path, launcher):
    pytest.importorskip("optuna")
    pytest.importorskip(launcher)
    rate = "optimizer.learning_rate=tag(log,interval(1e-4,1e-2))"
    found = sweep(tmp_path, rate, "--search", "optuna", "--trials", "3", "--launcher", launcher, "launcher.jobs=2")
    assert "best" in found.stdout
    assert len(list((tmp_path / "sweep").glob("*/checkpoints/step-00000006/shard-00002-of-00002.safetensors"))) == 3


@pytest.mark.sweeps
def test_a_stopped_sweep_saves_every_run_and_goes_on(tmp_path):
    """The request goes through the process of the job to rank 0, whose signals are blocked for the job itself."""
    (tmp_path / "text.txt").write_text(TEXT)
    settings = [one for one in SETTINGS if "max_steps" not in one] + ["trainer.max_steps=400", "trainer.save_every=0"]
    started = command(tmp_path, *settings, *RANKS, "seed=1,2", "run_dir=sweep", "--jobs", "2", threads=1)
    deadline = time.monotonic() + 200
    while len(begun(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    _, errors = started.communicate(timeout=100)
    assert "the sweep is stopped in run 1 and 2 of 2" in errors, errors
    assert not processes_of(tmp_path / "sweep")
    again = command(tmp_path, "--resume", "sweep", "--jobs", "2", threads=1)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    train(tmp_path, "alone", *settings[-2:], "seed=2", "trainer.gradient_sum=tree")
    assert summary(tmp_path / "sweep/1_seed=2", 400) == summary(tmp_path / "alone", 400)


def test_a_job_divides_its_threads_among_its_ranks(monkeypatch):
    seen: list[Any] = []
    monkeypatch.setattr(options, "_as_processes", lambda argv, ranks: seen.append((argv, ranks, threads())) or 0)
    config = RunConfig.from_dict(
        {"distributed": "processes", "ranks": 2, "trainer": {"gradient_accumulation_steps": 2}}
    )

    def threads() -> str | None:
        return options.os.environ.get("MINITRAIN_NUM_THREADS")

    for given, each in (("6", "3"), ("1", "1"), (None, None)):
        if given is None:
            monkeypatch.delenv("MINITRAIN_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("MINITRAIN_NUM_THREADS", given)
        assert options.start_ranks_of_job(config, ["--job", "x"]) == 0
        assert seen.pop() == (["--job", "x"], 2, each)
        assert threads() == given


def test_the_ranks_of_a_job_get_its_command(tmp_path):
    assert job_command(tmp_path, ["p.py"], True) == [
        "--multirun",
        "--resume",
        str(tmp_path),
        "--plugin",
        str(Path("p.py").resolve()),
        "--trust",
    ]
    assert "--trust" not in job_command(tmp_path, [], False)
