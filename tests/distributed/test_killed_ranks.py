"""Ranks killed and stopped at random moments: all end, nothing is lost, and the run ends in the same bytes.

A session is a start or a resume on two or four ranks. Somewhere in it, a rank chosen at random gets SIGKILL or SIGSTOP:
while the ranks meet, in a step, in a collective call, in a save. Takes about a quarter of a minute each on two busy
cores; ``MINITRAIN_RANK_KILLS=5`` makes fewer of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from minitrain.checkpoint import CheckpointStore
from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import SETTINGS, TRAIN, folder, processes_in, run, summary

assert folder  # a fixture
KILLS = int(os.environ.get("MINITRAIN_RANK_KILLS", "50"))
STEPS = 40
SLOW = """
import time
from minitrain.training import Callback, register_callback

@register_callback("slow")
class Slow(Callback):
    \"\"\"Takes its time, so that a session is not over at once.\"\"\"

    def on_step_begin(self, view):
        time.sleep(0.02)
"""


def ranks_in(folder: Path) -> list[int]:
    """The processes that are ranks."""
    found = []
    for process in processes_in(folder):
        try:
            found += [process] * (b"\0MINITRAIN_RANK=" in Path(f"/proc/{process}/environ").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_run_survives_them(folder: Path):
    (folder / "slow.py").write_text(SLOW)
    settings = [*SETTINGS, f"trainer.max_steps={STEPS}", "callbacks=[slow]", "trainer.save_every=3"]
    settings = [one for one in settings if one not in ("trainer.max_steps=6", "trainer.save_every=2")]
    base = [*TRAIN, "--plugin", "slow.py"]
    whole = run([*base, *settings, "run_dir=whole", "trainer.gradient_sum=tree"], folder)
    assert whole.returncode == 0, whole.stderr
    draw, events, finished = random.Random(0), [], 0
    number = 0
    while len(events) < KILLS:
        name = f"run-{number}"
        begun = (folder / name / "config.yaml").exists()
        ranks = draw.choice([2, 4])
        command = [*base, "--resume", name, f"ranks={ranks}"] if begun else [*base, *settings, f"run_dir={name}"]
        command += [] if begun else ["distributed=processes", f"ranks={ranks}"]
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        victim, wait = None, draw.uniform(0, 20)
        moment = time.monotonic() + wait
        while process.poll() is None and victim is None:
            time.sleep(0.01)
            if time.monotonic() > moment and (there := ranks_in(folder)):
                victim, kind = draw.choice(there), draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
                try:
                    os.kill(victim, kind)
                except OSError:
                    victim = None
        struck = time.monotonic()
        _, errors = process.communicate(timeout=60)
        if victim is None or process.returncode == 0:  # it was over before, or rank 0 was reporting already
            assert process.returncode == 0, errors
            finished += 1
            assert same(folder, name)
            number += 1
            continue
        events.append((kind.name, round(time.monotonic() - struck, 1)))
        assert time.monotonic() - struck < 10, (events, errors)
        assert "Traceback" not in errors, errors
        assert not processes_in(folder)
        checkpoints = folder / name / "checkpoints"
        if checkpoints.exists():
            store = CheckpointStore(checkpoints, warn=pytest.fail)
            assert (store.latest() is not None) is bool(store.checkpoints())
    name = f"run-{number}"
    if (folder / name / "config.yaml").exists():
        result = run([*base, "--resume", name, "ranks=2"], folder)
    else:
        result = run([*base, *settings, f"run_dir={name}", "distributed=processes", "ranks=2"], folder)
    assert result.returncode == 0, result.stderr
    assert same(folder, name)
    print(events, finished)


def same(folder: Path, name: str) -> bool:
    return summary(folder / name, STEPS) == summary(folder / "whole", STEPS)
