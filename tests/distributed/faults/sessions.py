"""A training on several ranks that something befalls: how to start one, strike a rank, and see that all end well."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from minitrain.checkpoint import CheckpointStore
from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import SETTINGS, TRAIN, processes_in, run, summary

LIMIT = 10.0
"""Seconds from the event to the end of the last process, where processes need not wait for a core; see `Pace`."""
STEPS = 40
PLACES = ("start-up", "step", "collective", "save")
WELL = [one for one in SETTINGS if one not in ("trainer.max_steps=6", "trainer.save_every=2")]
SAVED = ([], ["trainer.zero=1", "trainer.async_checkpoints=true"], ["trainer.zero=2", "trainer.async_checkpoints=true"])
"""Ways to save, which sessions take in turn: shards at once, and in the background."""
WELL += [f"trainer.max_steps={STEPS}", "trainer.save_every=3", "callbacks=[slow]"]

PLUGIN = """
import os, signal, time
from minitrain.distributed.tcp import TcpGroup
from minitrain.distributed.tcp.lines import Shared
from minitrain.training import Callback, register_callback

@register_callback("slow")
class Slow(Callback):
    \"\"\"Takes its time, so that a session is not over at once.\"\"\"

    def on_step_begin(self, view):
        time.sleep(0.02)

place, rank, count, number = (os.environ.get("DOOM") or "nowhere 0 0 0").split()
left = int(count)

def strike():
    global left
    left -= 1
    if left:
        return False
    with open("struck", "w") as file:
        file.write(str(time.time()))
    return True

def end():
    os.kill(os.getpid(), int(number))

if os.environ.get("MINITRAIN_RANK") == rank and place == "collective":
    exchange = TcpGroup._exchange

    def first_half(line, data):
        size = len(data) // 2
        return data[: size - size % line._size if isinstance(line, Shared) else size]  # a ring is for a whole slot

    def half(self, outgoing, incoming, add=None):
        if strike():  # in the middle of each message
            exchange(self, {to: first_half(self._lines[to], data) for to, data in outgoing.items()}, {})
            end()
        exchange(self, outgoing, incoming, add)

    TcpGroup._exchange = half
if os.environ.get("MINITRAIN_RANK") == rank and place == "save":

    def watched(function):
        def call(*arguments, **options):
            if strike():
                end()
            return function(*arguments, **options)
        return call

    for name in ("fsync", "rename", "replace", "mkdir"):
        setattr(os, name, watched(getattr(os, name)))
"""


class Event(NamedTuple):
    """What befalls a session."""

    ranks: int
    place: str
    rank: int
    signal: int
    count: int  # of calls, for "collective" and "save"
    wait: float  # seconds, for "start-up" and "step"

    def environment(self) -> dict[str, str]:
        return environment(DOOM=f"{self.place} {self.rank} {self.count} {self.signal}")


def draw(number: int) -> Event:
    """Event ``number``: every place and every rank in turn, all else at random."""
    chance = random.Random(number)
    ranks = 2 if number // 8 % 2 == 0 else 4
    place = PLACES[number % 4]
    rank = (number // 4 + number // 16) % ranks
    kind = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
    return Event(
        ranks, place, rank, kind, chance.randint(1, 120 if place == "collective" else 40), chance.uniform(0, 2)
    )


def rank_of(process: int) -> int | None:
    """Which rank a process is."""
    try:
        for variable in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"MINITRAIN_RANK="):
                return int(variable.partition(b"=")[2])
    except (OSError, ValueError):
        pass
    return None


def ranks_in(folder: Path) -> dict[int, int]:
    """The processes that are ranks, by rank."""
    found = {rank_of(process): process for process in processes_in(folder)}
    return {rank: process for rank, process in found.items() if rank is not None}


class Pace:
    """How many times as long as its work a process takes: 1 if it has a core, more if others use the cores too.

    The limit for the end of all ranks is for a machine that has time for them. So a little work is done twice a second
    beside them, and its time compared with its CPU seconds.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._took: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def factor(self) -> float:
        return max(1.0, statistics.mean(self._took)) if self._took else 1.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            began, work = time.monotonic(), time.thread_time()
            while (done := time.thread_time() - work) < 0.01:
                pass
            self._took.append((time.monotonic() - began) / done)


class Outcome(NamedTuple):
    """How a session ended."""

    code: int
    errors: str
    seconds: float | None  # from the event to the end; None if there was none
    pace: float  # see `Pace`


def session(folder: Path, command: list[str], event: Event, checkpoints: Path) -> Outcome:
    """Run a command, and let the event happen."""
    struck = folder / "struck"
    struck.unlink(missing_ok=True)
    before = saved(checkpoints)
    process = subprocess.Popen(
        command, cwd=folder, env=event.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if event.place in ("start-up", "step") and waited_for(
        lambda: may_strike(folder, event, before, checkpoints), process
    ):
        time.sleep(event.wait)
        try:
            victim = ranks_in(folder)[event.rank]
            struck.write_text(str(time.time()))
            os.kill(victim, event.signal)
        except (OSError, KeyError):  # it was over before
            struck.unlink(missing_ok=True)
    with Pace() as pace:
        _, errors = process.communicate(timeout=300)
    seconds = time.time() - float(struck.read_text()) if struck.exists() else None
    return Outcome(process.returncode, errors, seconds, pace.factor)


def may_strike(folder: Path, event: Event, before: list[str], checkpoints: Path) -> bool:
    """Whether the rank is there; for a step, whether the session has saved a checkpoint too."""
    return event.rank in ranks_in(folder) and (event.place != "step" or saved(checkpoints) != before)


def waited_for(what: Any, process: subprocess.Popen[str]) -> bool:
    """Wait until ``what()`` is true; false if the process ends before."""
    while process.poll() is None:
        if what():
            return True
        time.sleep(0.01)
    return False


def saved(checkpoints: Path) -> list[str]:
    """The names of the checkpoints that are there."""
    return sorted(path.name for path in checkpoints.glob("step-*"))


def refuse_anything_lost(folder: Path, before: list[str], checkpoints: Path) -> None:
    """No process is left; the newest checkpoint is intact and not older than the newest before."""
    deadline = time.monotonic() + 2
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_in(folder)
    if checkpoints.exists():
        latest = CheckpointStore(checkpoints, warn=pytest.fail).latest()
        assert (latest is not None) is bool(saved(checkpoints))
        if before:
            assert latest is not None
            assert latest.name >= before[-1]


def same(folder: Path, name: str, steps: int = STEPS) -> bool:
    """Whether a run has the bytes of the one that nothing befell."""
    return summary(folder / name, steps) == summary(folder / "whole", steps)


def train_whole(folder: Path) -> list[str]:
    """Train the run that nothing befalls, and give the beginning of all commands."""
    (folder / "slow.py").write_text(PLUGIN)
    base = [*TRAIN, "--plugin", "slow.py"]
    if not (folder / "whole" / "checkpoints" / f"step-{STEPS:08d}").exists():
        result = run([*base, *WELL, "run_dir=whole", "trainer.gradient_sum=tree"], folder)
        assert result.returncode == 0, result.stderr
    return base


def begin_or_resume(base: list[str], folder: Path, name: str, ranks: int, number: int = 0) -> list[str]:
    """The command of the next session of a run; ``number`` chooses how it saves."""
    more = [f"ranks={ranks}", *SAVED[number % len(SAVED)]]
    if (folder / name / "config.yaml").exists():
        return [*base, "--resume", name, *more]
    return [*base, *WELL, f"run_dir={name}", "distributed=processes", *more]


def note(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line to a file of events."""
    with path.open("a") as file:
        file.write(json.dumps(dict(entry)) + "\n")
