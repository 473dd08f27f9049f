"""What every launcher that uses other processes promises, whatever its engine."""

from __future__ import annotations

import builtins
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from minitrain.backend.threads import set_threads
from minitrain.errors import ConfigError
from minitrain.runs.sweep.launchers import LAUNCHERS, create_launcher
from minitrain.runs.sweep.process import JobProcess
from minitrain.runs.sweep.stop import StopFile
from tests.helpers.running_sweeps import wait_for, when_running
from tests.runs.sweep.sweep_jobs import DIES, FAILS, SAVES, THREADS, job, run_jobs
from tests.runs.sweep.sweep_jobs import stop as stop  # a fixture

ENGINES = [
    pytest.param("joblib", "joblib"),
    pytest.param("submitit-local", "submitit"),
    pytest.param("ray", "ray", marks=pytest.mark.sweeps),
]
with_every_engine = pytest.mark.parametrize(("name", "package"), ENGINES)


@with_every_engine
def test_a_job_that_fails_or_dies_loses_no_other_result(
    name: str, package: str, tmp_path: Path, stop: StopFile
) -> None:
    pytest.importorskip(package)
    programs = {"0_good": THREADS, "1_fails": FAILS, "2_dies": DIES, "3_good": THREADS}
    set_threads(6)
    try:
        launcher = create_launcher(name, {"jobs": 2})
        outcomes = run_jobs(launcher, [job(tmp_path, *one, stop) for one in programs.items()], stop)
    finally:
        set_threads(None)
    assert {one: outcomes[one].state for one in programs} == {
        "0_good": "finished",
        "1_fails": "failed",
        "2_dies": "failed",
        "3_good": "finished",
    }
    assert outcomes["1_fails"].message == "the disk is full"
    assert outcomes["2_dies"].message == "its process was ended by SIGKILL, perhaps because memory ran out"
    assert (tmp_path / "0_good" / "log.txt").read_text() == "threads 3\n"
    assert (tmp_path / "1_fails" / "log.txt").read_text() == "working\nminitrain: error: the disk is full\n"
    assert not list(tmp_path.glob(".submitit*"))


@with_every_engine
def test_a_signal_lets_running_jobs_save_and_begins_no_other(
    name: str, package: str, tmp_path: Path, stop: StopFile
) -> None:
    pytest.importorskip(package)
    jobs = [job(tmp_path, f"{i}_long", SAVES, stop) for i in range(4)]
    when_running(tmp_path, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    outcomes = run_jobs(create_launcher(name, {"jobs": 2}), jobs, stop)
    states = [outcomes[one.name].state for one in jobs]
    assert sorted(states) == ["interrupted", "interrupted", "waiting", "waiting"]
    for one in jobs:
        if outcomes[one.name].state == "interrupted":
            assert one.log.read_text() == "running\nsaved\n"
        else:
            assert not one.log.exists()
    assert stop.number() == signal.SIGTERM


def test_a_second_signal_ends_jobs_at_once(tmp_path: Path, stop: StopFile) -> None:
    pytest.importorskip("joblib")

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    when_running(tmp_path, 1, twice)
    outcomes = run_jobs(create_launcher("joblib", {"jobs": 1}), [job(tmp_path, "0_long", SAVES, stop)], stop)
    assert outcomes["0_long"].state == "interrupted"
    assert (tmp_path / "0_long" / "log.txt").read_text() == "running\n"


def test_a_third_signal_ends_what_does_not_listen(tmp_path: Path, stop: StopFile) -> None:
    pytest.importorskip("joblib")

    def three_times() -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    when_running(tmp_path, 1, three_times)
    program = "import time; print('running', flush=True); time.sleep(600)"
    outcomes = run_jobs(create_launcher("joblib", {"jobs": 1}), [job(tmp_path, "0_deaf", program, stop)], stop)
    assert outcomes["0_deaf"].state == "interrupted"


def test_a_job_whose_starter_is_gone_saves_and_ends(tmp_path: Path, stop: StopFile) -> None:
    one = job(tmp_path, "0_long", SAVES, stop)
    process = JobProcess(one, {})
    wait_for(lambda: one.log.read_text() == "running\n")
    process.close()  # closes the pipe, as the end of this process would
    assert one.log.read_text() == "running\nsaved\n"


def test_signals_from_elsewhere_reach_no_job_twice(tmp_path: Path, stop: StopFile) -> None:
    """A batch system signals every process that it finds: the launcher's, which asks the job, and the job's."""
    one = job(tmp_path, "0_long", SAVES, stop)
    process = JobProcess(one, {})
    wait_for(lambda: one.log.read_text() == "running\n")
    os.kill(process._process.pid, signal.SIGTERM)
    time.sleep(0.3)
    process.ask(1)
    process.ask(1)
    assert process.finish().state == "interrupted"
    process.close()
    assert one.log.read_text() == "running\nsaved\n"


def test_the_log_of_a_job_does_not_lead_out_of_its_folder(tmp_path: Path, stop: StopFile) -> None:
    pytest.importorskip("joblib")
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "0_link").symlink_to(victim)
    (tmp_path / "1_log").mkdir()
    (tmp_path / "1_log" / "log.txt").symlink_to(victim / "written")
    (tmp_path / "2_fifo").mkdir()
    os.mkfifo(tmp_path / "2_fifo" / "log.txt")
    jobs = [job(tmp_path, name, THREADS, stop) for name in ("0_link", "1_log", "2_fifo", "3_good")]
    outcomes = run_jobs(create_launcher("joblib", {"jobs": 2}), jobs, stop)
    assert [outcomes[one.name].state for one in jobs] == ["failed", "failed", "failed", "finished"]
    assert "is a link" in outcomes["0_link"].message
    assert not list(victim.iterdir())


@pytest.mark.parametrize(
    ("launcher", "package", "extra"),
    [
        ("joblib", "joblib", "joblib"),
        ("slurm", "submitit", "slurm"),
        ("submitit-local", "submitit", "slurm"),
        ("ray", "ray", "ray"),
    ],
)
def test_an_engine_that_is_not_installed(
    launcher: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    original = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *rest)

    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=rf"pip install 'minitrain\[{extra}\]'"):
        create_launcher(launcher, {})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("slrum", {}, "did you mean 'slurm'"),
        ("joblib", {"job": 2}, "launcher joblib has no setting job; did you mean jobs"),
        ("joblib", {"jobs": 0}, "launcher.jobs must be at least 1, got 0"),
        ("joblib", {"jobs": "two"}, "launcher joblib: jobs must be a whole number, got 'two'"),
        ("serial", {"jobs": 2}, "launcher serial has no setting jobs"),
    ],
)
def test_wrong_settings_of_a_launcher(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_launcher(name, values)


def test_every_launcher_says_what_it_is() -> None:
    for launcher in LAUNCHERS.values():
        assert launcher.__doc__
