"""Ranks as workers of Ray: the same bytes, also after one was killed and Ray has started them again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import PLUGIN, SETTINGS, TRAIN, folder, processes_in, summary, train

assert folder  # a fixture
pytestmark = pytest.mark.sweeps
ONCE = PLUGIN.replace(
    '        if self.what == "raise":',
    '        if os.path.exists("happened"):\n            return\n        open("happened", "w").close()\n'
    '        if self.what == "raise":',
)


@pytest.mark.parametrize("what", ["nothing", "kill", "raise"])
def test_ray_ends_with_the_bytes_of_one(folder: Path, what: str):
    pytest.importorskip("ray")
    (folder / "plugin.py").write_text(ONCE)
    train(folder, "one", "trainer.gradient_sum=tree")
    misfortune = [f"callbacks=[{{name: misfortune, what: {what}, rank: 1, step: 3}}]"] * (what != "nothing")
    command = [*TRAIN, "--plugin", "plugin.py", *SETTINGS, "run_dir=ray", "distributed=ray", "ranks=2", *misfortune]
    result = subprocess.run(
        [*command, "max_failures=1"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (folder / "happened").exists() is (what != "nothing")
    assert ("continuing after step" in result.stdout) is (what != "nothing")
    assert summary(folder / "ray") == summary(folder / "one")
    deadline = time.monotonic() + 60  # Ray's own agents end a while after its last worker
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.2)


def test_without_restarts_a_failure_is_the_end(folder: Path):
    pytest.importorskip("ray")
    command = [*TRAIN, "--plugin", "plugin.py", *SETTINGS, "run_dir=ray", "distributed=ray", "ranks=2"]
    command += ["callbacks=[{name: misfortune, what: raise, rank: 1, step: 3}]"]
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "ZeroDivisionError: a misfortune" in result.stderr + result.stdout
