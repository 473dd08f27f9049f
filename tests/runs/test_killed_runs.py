"""Two hundred runs killed at random moments: each goes on from a valid checkpoint and ends in the same bytes.

A run is killed with SIGKILL, wherever it is: in a step, in a write of a checkpoint or of its thread, between an fsync
and a rename. Then it is resumed, killed again, and so on, up to three times, and finished. Takes five minutes on
two busy cores; ``MINITRAIN_KILLS=20 make test-slow`` kills fewer.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.small_runs import outcome, small_config

KILLS = int(os.environ.get("MINITRAIN_KILLS", "200"))
STEPS = 12

# One process imports everything and then forks one child for each session, which takes a fraction of a second.
_FORKING = """
import json, os, signal, sys, time
import minitrain.runs.run
from minitrain.runs import RunConfig, resume_run, start_run
from minitrain.checkpoint.store import CheckpointStore
import safetensors.numpy, yaml, rich.progress

minitrain.runs.run.draw = lambda run_dir, baselines: ()

def session(config, resume, ready):
    run = resume_run(config.run_dir) if resume else start_run(config)
    os.write(ready, b"%d\\n" % run.trainer.state.step)
    run.train()

for line in sys.stdin:
    order = json.loads(line)
    config = RunConfig.from_dict(order["config"])
    reading, ready = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            session(config, order["resume"], ready)
            code = 0
        finally:
            os._exit(code)
    os.close(ready)
    with os.fdopen(reading) as pipe:
        step = pipe.readline().strip()
    begun = time.perf_counter()
    if order["after"] is not None:
        time.sleep(order["after"])
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"step": step, "exit": os.waitstatus_to_exitcode(status), "took": time.perf_counter() - begun}),
          flush=True)
"""


class Sessions:
    """Runs sessions of runs in children of a process that is warm."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, config: Any, *, resume: bool = False, after: float | None = None) -> dict[str, Any]:
        """One session, killed ``after`` so many seconds of training, or not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"config": config.to_dict(), "resume": resume, "after": after}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        report: dict[str, Any] = json.loads(self._process.stdout.readline())
        return report

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("later", [False, True], ids=["at once", "in the background"])
def test_killed_at_random_moments(tmp_path: Path, later: bool) -> None:
    chance = random.Random(int(later))
    changes = {"trainer_max_steps": STEPS, "trainer_save_every": 1, "trainer_async_checkpoints": later}
    with contextlib.closing(Sessions()) as sessions:
        kill_at_random_moments(tmp_path, sessions, chance, changes)


def kill_at_random_moments(tmp_path: Path, sessions: Sessions, chance: random.Random, changes: dict[str, Any]) -> None:
    whole = small_config(tmp_path / "whole", **changes)
    sessions.run(whole)  # the first one warms the disk up
    seconds = sessions.run(small_config(tmp_path / "again", **changes))["took"]
    expected = outcome(tmp_path / "whole" / "run", STEPS)
    killed, steps, runs = 0, set[int](), 0
    while killed < KILLS // 2:
        runs += 1
        folder = tmp_path / f"run{runs}"
        config, resume = small_config(folder, **changes), False
        for _ in range(chance.randint(1, 3)):
            report = sessions.run(config, resume=resume, after=chance.uniform(0, seconds))
            assert report["exit"] in (0, -signal.SIGKILL), report
            steps.add(int(report["step"]))
            killed += report["exit"] != 0
            resume = True
        assert sessions.run(config, resume=True)["exit"] == 0
        assert outcome(folder / "run", STEPS) == expected
    assert len(steps) > min(4, KILLS // 8)  # they were killed in different places
