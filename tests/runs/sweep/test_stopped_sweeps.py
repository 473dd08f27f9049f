"""Sweeps of real trainings in real processes: stopped in every way, they go on and end with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minitrain
from tests.helpers.small_runs import SMALL, TEXT

STEPS = 800
SETTINGS = [
    *SMALL,
    f"trainer.max_steps={STEPS}",
    "trainer.log_every=50",
    "trainer.validation_frequency=800",
    "trainer.save_every=1000",
    "seed=1,2",
    "run_dir=sweep",
]


def command(folder: Path, *arguments: str, threads: int = 2) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(minitrain.__file__).parent.parent),
        "MINITRAIN_NUM_THREADS": str(threads),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "minitrain", "train", "--multirun", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def begun(folder: Path) -> list[Path]:
    """The runs that train."""
    return [path.parent for path in folder.glob("sweep/*/metrics.jsonl") if path.stat().st_size]


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line.replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sweep that nobody stops."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(TEXT)
    sweep = command(folder, *SETTINGS, threads=1)
    _, errors = sweep.communicate(timeout=200)
    assert (sweep.returncode, errors) == (0, "")
    return folder


# Whole sweeps in processes take half a minute each. Signals to the launchers alone are tested at every run.
WAYS = [
    pytest.param("joblib", signal.SIGTERM, False, "joblib", marks=pytest.mark.sweeps),
    pytest.param("submitit-local", signal.SIGINT, True, "submitit", marks=pytest.mark.sweeps),
    pytest.param("joblib", signal.SIGINT, True, "joblib", marks=pytest.mark.sweeps),
    pytest.param("joblib", signal.SIGKILL, False, "joblib", marks=pytest.mark.sweeps),
    pytest.param("submitit-local", signal.SIGTERM, False, "submitit", marks=pytest.mark.sweeps),
    pytest.param("ray", signal.SIGTERM, False, "ray", marks=pytest.mark.sweeps),
    pytest.param("ray", signal.SIGINT, True, "ray", marks=pytest.mark.sweeps),
]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("launcher", "number", "to_all", "package"), WAYS)
def test_a_stopped_sweep_leaves_nothing_behind_and_goes_on(
    launcher: str, number: signal.Signals, to_all: bool, package: str, tmp_path: Path, whole: Path
) -> None:
    pytest.importorskip(package)
    (tmp_path / "text.txt").write_text(TEXT)
    sweep = command(tmp_path, "--launcher", launcher, *SETTINGS)
    until = time.monotonic() + 120
    while len(begun(tmp_path)) < 2:
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    if to_all:  # as a terminal does
        os.killpg(sweep.pid, number)
    else:
        os.kill(sweep.pid, number)
    _, errors = sweep.communicate(timeout=60)
    if number == signal.SIGKILL:
        while processes_of(tmp_path):
            assert time.monotonic() < until
            time.sleep(0.1)
    else:
        assert sweep.returncode == 128 + number
        assert errors.splitlines() == [errors.strip()], "one line"
        assert f"go on with: minitrain train --multirun --resume sweep --launcher {launcher}" in errors
    assert not processes_of(tmp_path)
    assert list(tmp_path.glob("sweep/*/checkpoints/step-*")), "they have saved"

    sweep = command(tmp_path, "--resume", "sweep", threads=1)
    said, errors = sweep.communicate(timeout=200)
    assert (sweep.returncode, errors) == (0, ""), said
    for name in ("0_seed=1", "1_seed=2"):
        weights = Path("sweep", name, "checkpoints", f"step-{STEPS:08d}", "model.safetensors")
        assert (tmp_path / weights).read_bytes() == (whole / weights).read_bytes()
