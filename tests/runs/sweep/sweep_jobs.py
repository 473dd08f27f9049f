"""Small jobs for the tests of launchers: programs of a few lines instead of trainings."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minitrain
from minitrain.runs.sweep.jobs import Job, Launcher, Outcome, Work
from minitrain.runs.sweep.stop import StopFile

THREADS = "import os; print('threads', os.environ['MINITRAIN_NUM_THREADS'])"
FAILS = "import sys; print('working'); print('minitrain: error: the disk is full', file=sys.stderr); sys.exit(1)"
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
# Saves when it is asked to stop, as training does; a second request before that would end it at once.
SAVES = """
import sys, time
from minitrain.runs.sweep.process import obeying_the_starter
from minitrain.training.signals import StopSignals
with obeying_the_starter(), StopSignals() as signals:
    print("running", flush=True)
    while not signals.received:
        time.sleep(0.02)
    time.sleep(0.6)
    print("saved", flush=True)
sys.exit(143)
"""


@pytest.fixture
def stop(tmp_path: Path) -> StopFile:
    return StopFile.new(tmp_path)


def job(folder: Path, name: str, program: str, stop: StopFile) -> Job:
    return Job(name, folder / name, (sys.executable, "-c", program), stop)


def run_jobs(launcher: Launcher, jobs: list[Job], stop: StopFile) -> dict[str, Outcome]:
    """The outcomes by name; what was told to begin is each job that did."""
    begun: list[str] = []

    def not_here(job: Job) -> Outcome:
        raise AssertionError("a job ran in the process of the sweep")

    with minitrain_on_path():
        outcomes = list(launcher.run(jobs, Work(not_here, lambda one, remark: begun.append(one.name), stop)))
    assert sorted(one.name for one in outcomes) == sorted(one.name for one in jobs)
    assert {one.name for one in outcomes if one.state != "waiting"} <= set(begun)
    return {one.name: one for one in outcomes}


@contextlib.contextmanager
def minitrain_on_path() -> Iterator[None]:
    """Other processes import the minitrain that is tested."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(minitrain.__file__).parent.parent)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
