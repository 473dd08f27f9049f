"""A rank that lacks something: time, memory, space on the disk, the port that it was to use."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributed.faults.sessions import (
    LIMIT,
    WELL,
    Outcome,
    Pace,
    ranks_in,
    refuse_anything_lost,
    same,
    saved,
    train_whole,
    waited_for,
)
from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import folder, on_processes, run

assert folder  # a fixture
pytestmark = pytest.mark.slow
AT = 11
"""The step before which it happens; the last checkpoint then is that of step 9."""
WANTING = f"""
import os, resource
from pathlib import Path
import minitrain.checkpoint.local as local
from minitrain.training import Callback, register_callback

@register_callback("wanting")
class Wanting(Callback):
    \"\"\"Takes something from a rank.

    Args:
        what: memory, disk or space.
        rank: whose.
    \"\"\"

    def __init__(self, what: str = "memory", rank: int = 1) -> None:
        self.what, self.rank = what, rank

    def on_step_begin(self, view):
        if view.step != {AT} or os.environ.get("MINITRAIN_RANK") != str(self.rank) or Path("over").exists():
            return
        Path("struck").write_text(str(__import__("time").time()))
        if self.what == "memory":  # from here on, the system refuses to give any
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used, used))
            self.kept = [bytearray(1 << 20) for _ in range(1000)]
        if self.what == "space":  # for this rank alone: its writes go to a disk that is full
            local.write_file = lambda path, pieces: open("/dev/full", "wb", buffering=0).write(b"x")
        if self.what == "disk":  # all ranks see this one
            disk = Path("disk")
            (disk / "filler").write_bytes(bytes(__import__("shutil").disk_usage(disk).free - 8192))
"""


def started(folder: Path, command: list[str]) -> subprocess.Popen[str]:
    """A command whose errors are kept."""
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def end_of(folder: Path, command: list[str]) -> Outcome:
    """Run a command in which something happens."""
    process = started(folder, command)
    with Pace() as pace:
        _, errors = process.communicate(timeout=400)
    struck = folder / "struck"
    seconds = time.time() - float(struck.read_text()) if struck.exists() else None
    print(f"ended with {process.returncode}, {seconds} s after the event, at a pace of {pace.factor:.1f}: {errors}")
    return Outcome(process.returncode, errors, seconds, pace.factor)


def commands(folder: Path, what: str, rank: int, run_dir: str = "run") -> tuple[list[str], list[str]]:
    """The command of a run to which it happens, and that which goes on with it."""
    base = [*train_whole(folder), "--plugin", "wanting.py"]
    (folder / "wanting.py").write_text(WANTING)
    settings = [one for one in WELL if not one.startswith("callbacks")]
    settings.append(f"callbacks=[slow,{{name: wanting, what: {what}, rank: {rank}}}]")
    return [*base, *settings, f"run_dir={run_dir}", *on_processes(2)], [*base, "--resume", run_dir]


def goes_on(folder: Path, again: list[str], name: str = "run") -> None:
    (folder / "over").touch()
    result = run(again, folder, 400)
    assert result.returncode == 0, result.stderr
    assert same(folder, name)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("what", ["memory", "space"])
def test_a_rank_without_memory_or_space_ends_all(folder: Path, what: str, rank: int) -> None:
    first, again = commands(folder, what, rank)
    outcome = end_of(folder, first)
    assert outcome.code != 0
    assert outcome.seconds is not None
    assert outcome.seconds < LIMIT * outcome.pace
    words = "out of memory: an allocation failed" if what == "memory" else "the disk is full; free some"
    assert words in outcome.errors
    refuse_anything_lost(folder, ["step-00000009"], folder / "run/checkpoints")
    assert saved(folder / "run/checkpoints")[-1] == "step-00000009"
    goes_on(folder, again)


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A file system of its own in the folder, of 4 MB."""
    place = folder / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_fills_up_ends_all_with_one_error(folder: Path, disk: Path) -> None:
    first, again = commands(folder, "disk", 1, "disk/run")
    outcome = end_of(folder, first)
    assert outcome.code != 0
    assert outcome.seconds is not None
    assert outcome.seconds < LIMIT * outcome.pace
    assert outcome.errors.count("minitrain: error") == 1, outcome.errors
    assert "free" in outcome.errors
    refuse_anything_lost(folder, ["step-00000009"], disk / "run/checkpoints")
    (disk / "filler").unlink()
    goes_on(folder, again, "disk/run")


CGROUP = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group whose processes the system kills when they take more than it allows."""
    place = CGROUP / f"minitrain-{os.getpid()}"
    try:
        place.mkdir()
    except OSError:
        pytest.skip("control groups of memory (version 1) cannot be made here")
    yield place
    place.rmdir()


def test_a_rank_that_the_system_kills_for_its_memory(folder: Path, little_memory: Path) -> None:
    """The limit is set below what the rank has; at its next allocation it gets SIGKILL."""
    base = train_whole(folder)
    process = started(folder, [*base, *WELL, "run_dir=run", *on_processes(2)])
    assert waited_for(lambda: saved(folder / "run/checkpoints"), process)
    victim = ranks_in(folder)[1]
    (little_memory / "memory.limit_in_bytes").write_text("4096")
    (little_memory / "cgroup.procs").write_text(str(victim))
    began = time.monotonic()
    with Pace() as pace:
        _, errors = process.communicate(timeout=300)
    took = time.monotonic() - began
    print(f"ended with {process.returncode}, {took:.1f} s after the event, at a pace of {pace.factor:.1f}: {errors}")
    if process.returncode == 0:
        pytest.skip("the rank took no new memory before its end")
    assert took < LIMIT * pace.factor
    assert "rank 1 was ended by SIGKILL" in errors
    refuse_anything_lost(folder, ["step-00000003"], folder / "run/checkpoints")
    goes_on(folder, [*base, "--resume", "run"])


def test_a_rank_that_is_slow_is_waited_for(folder: Path) -> None:
    """It stands still for most of the time, but never for long."""
    base = train_whole(folder)
    process = started(folder, [*base, *WELL, "run_dir=run", *on_processes(2)])
    over, stops = threading.Event(), []

    def slow_down() -> None:
        while not over.is_set():
            if (victim := ranks_in(folder).get(1)) is not None:
                for kind, wait in ((signal.SIGSTOP, 0.8), (signal.SIGCONT, 0.3)):
                    try:
                        os.kill(victim, kind)
                        stops.append(kind)
                    except OSError:
                        return
                    over.wait(wait)
            else:
                over.wait(0.1)

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        _, errors = process.communicate(timeout=400)
    finally:
        over.set()
        thread.join()
    assert process.returncode == 0, errors
    assert stops.count(signal.SIGSTOP) >= 3
    assert same(folder, "run")


SILENT = """
import socket, time
with socket.create_server(("127.0.0.1", PORT)) as listener:
    print("listening", flush=True)
    held = []
    while True:
        held.append(listener.accept())
"""


def test_a_port_that_something_else_uses(folder: Path) -> None:
    """It listens, lets everybody in and says nothing: both ranks say so and end, long before the minute is over."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    other = subprocess.Popen(
        [sys.executable, "-c", SILENT.replace("PORT", str(port))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "listening\n"
        base = train_whole(folder)
        variables = {"MINITRAIN_RANKS": "2", "MINITRAIN_ROOT": f"127.0.0.1:{port}", "MINITRAIN_TOKEN": "x"}
        ranks = [
            subprocess.Popen(
                [*base, *WELL, "run_dir=run"],
                cwd=folder,
                env=environment(**variables, MINITRAIN_RANK=str(rank)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        errors = [rank.communicate(timeout=300)[1] for rank in ranks]
        assert all(rank.returncode for rank in ranks), errors
        assert f"cannot listen at 127.0.0.1:{port}" in errors[0]
        assert "choose a free port" in errors[0]
        assert f"what listens at 127.0.0.1:{port} is no rank of this training" in errors[1]
    finally:
        other.kill()
        other.communicate()
    assert not (folder / "run").exists()
