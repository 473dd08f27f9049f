"""Slurm by way of submitit, with stand-ins for Slurm's programs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from minitrain.errors import ConfigError
from minitrain.runs.sweep.launchers import create_launcher
from minitrain.runs.sweep.stop import StopFile
from tests.helpers.running_sweeps import wait_for, when_running
from tests.runs.sweep.fake_slurm import install, members
from tests.runs.sweep.sweep_jobs import FAILS, SAVES, THREADS, job, run_jobs
from tests.runs.sweep.sweep_jobs import stop as stop  # a fixture

pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-ins look for processes in /proc")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(tmp_path / "bin")
    state = tmp_path / "slurm"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    return state


def test_jobs_are_one_array_with_the_settings(slurm: Path, tmp_path: Path, stop: StopFile) -> None:
    settings = {"partition": "big", "time": 90, "gpus": 2, "cpus": 3, "memory": 8, "jobs": 2, "account": "us"}
    settings |= {"setup": ["export GREETING=hello"], "options": {"exclusive": True}}
    programs = {"0_good": THREADS + "; print(os.environ['GREETING'])", "1_fails": FAILS, "2_good": THREADS}
    outcomes = run_jobs(
        create_launcher("slurm", settings), [job(tmp_path, *one, stop) for one in programs.items()], stop
    )
    assert [outcomes[name].state for name in programs] == ["finished", "failed", "finished"]
    assert outcomes["1_fails"].message == "the disk is full"
    assert (tmp_path / "0_good" / "log.txt").read_text() == "threads 3\nhello\n"
    script = (slurm / "script").read_text()
    for option in (
        "partition=big",
        "time=90",
        "gpus-per-node=2",
        "cpus-per-task=3",
        "mem=8GB",
        "account=us",
        "array=0-2%2",
        "exclusive",
    ):
        assert f"#SBATCH --{option}\n" in script


def test_cancelled_jobs_save(slurm: Path, tmp_path: Path, stop: StopFile) -> None:
    jobs = [job(tmp_path, f"{i}_long", SAVES, stop) for i in range(2)]
    when_running(tmp_path, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcomes = run_jobs(create_launcher("slurm", {}), jobs, stop)
    assert {one.state for one in outcomes.values()} == {"interrupted"}
    assert [one.log.read_text() for one in jobs] == ["running\nsaved\n"] * 2


def test_a_job_at_its_time_limit_is_queued_again(slurm: Path, tmp_path: Path, stop: StopFile) -> None:
    flag = tmp_path / "flag"
    program = f"""
import pathlib
if pathlib.Path({str(flag)!r}).exists():
    print("went on", flush=True)
    raise SystemExit(0)
pathlib.Path({str(flag)!r}).touch()
{SAVES}"""
    one = job(tmp_path, "0_long", program, stop)

    def time_is_nearly_up() -> None:
        wait_for(lambda: one.log.exists() and "running" in one.log.read_text())
        for process in members("77"):
            if b"submitit.core" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGUSR2)

    threading.Thread(target=time_is_nearly_up, daemon=True).start()
    outcomes = run_jobs(create_launcher("slurm", {}), [one], stop)
    assert outcomes["0_long"].state == "finished"
    assert one.log.read_text() == "running\nsaved\nwent on\n"
    assert (slurm / "requeued").read_text() == "77\n"


def test_where_there_is_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no sbatch here; start it on the cluster"):
        create_launcher("slurm", {})
