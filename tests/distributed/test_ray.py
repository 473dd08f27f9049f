"""Ranks as workers of Ray: the same bytes, also after one was killed, or its machine, and they were started again."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import PLUGIN, SETTINGS, TRAIN, folder, processes_in, run, summary, train

assert folder  # a fixture
pytestmark = pytest.mark.sweeps
LIMIT = 600.0
"""Seconds for a run; Ray takes half a minute to start on two free cores."""
ONCE = PLUGIN.replace(
    '        if self.what == "raise":',
    '        if os.path.exists("happened"):\n            return\n        open("happened", "w").close()\n'
    '        if self.what == "raise":',
)


WAITS = """
import os, sys, time
from minitrain.training import Callback, register_callback

@register_callback("waits")
class Waits(Callback):
    \"\"\"Waits at step 3 until a file is there; leaves one with its process and whether PyTorch is there.\"\"\"

    def on_step_begin(self, view):
        rank = os.environ["MINITRAIN_RANK"]
        with open(f"at-{view.step}-{rank}-of-{os.environ['MINITRAIN_RANKS']}", "w") as file:
            file.write(f"{os.getpid()} {'torch' in sys.modules}")
        end = time.monotonic() + 200
        while view.step == 3 and not os.path.exists("go") and time.monotonic() < end:
            time.sleep(0.05)
"""


def patiently(start: Callable[[], Any]) -> Any:
    """What ``start`` makes; Ray gives itself 30 s, which is little on a busy machine."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


def is_there(process: str) -> bool:
    """Whether a process lives."""
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray that runs already, of two machines with a core each, as far as Ray can tell."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as place:  # sockets need a short path
        monkeypatch.setenv("RAY_TMPDIR", place)
        monkeypatch.setenv("RAY_worker_niceness", "0")
        monkeypatch.setenv("MINITRAIN_SILENCE", "60")  # a busy machine shows no sign of life for a while
        (Path(place) / "ray").mkdir()
        head = {"num_cpus": 1, "include_dashboard": False}
        cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        try:
            yield cluster
        finally:
            cluster.shutdown()


def test_a_machine_that_is_gone_leaves_fewer_ranks_and_the_same_bytes(folder: Path, cluster: Any):
    """Four micro-batches on two ranks, then on one; none imports PyTorch, which Ray itself needs for sums."""
    (folder / "waits.py").write_text(WAITS)
    train(folder, "one", "trainer.gradient_sum=tree")
    other = patiently(lambda: cluster.add_node(num_cpus=1))
    command = [*TRAIN, "--plugin", "waits.py", *SETTINGS, "run_dir=ray", "distributed=ray", "ranks=2", "max_failures=1"]
    process = subprocess.Popen(
        [*command, "callbacks=[waits]"],
        cwd=folder,
        env=environment(RAY_ADDRESS=cluster.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + LIMIT
    ranks: list[str] = []
    while len(ranks) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        ranks = [words[0] for path in folder.glob("at-3-*-of-2") if (words := path.read_text().split())]
    cluster.remove_node(other, allow_graceful=False)
    while all(map(is_there, ranks)) and time.monotonic() < deadline:
        time.sleep(0.05)  # its worker ends a moment after the machine, as Ray sees it
    (folder / "go").touch()
    said, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said + errors
    assert "Ray has no room for 2 workers: 1 train" in errors
    assert sorted(path.name for path in folder.glob("at-*-of-1")) == [f"at-{step}-0-of-1" for step in (2, 3, 4, 5)]
    for path in (folder / "at-5-0-of-1", folder / "at-3-1-of-2"):
        assert path.read_text().endswith("False"), "a rank has imported PyTorch"
    assert summary(folder / "ray") == summary(folder / "one")
    assert not list(folder.glob(".ray-*"))


def test_a_ray_that_runs_already_is_neither_joined_nor_stopped(folder: Path, cluster: Any):
    """Which has no room for the ranks: they train all the same, in a Ray of their own, which leaves nothing behind."""
    before = set(Path(tempfile.gettempdir()).glob("minitrain-ray-*"))
    result = run([*TRAIN, *SETTINGS, "run_dir=ray", "distributed=ray", "ranks=2"], folder, limit=LIMIT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert summary(folder / "ray")["state"]["step"] == 6
    assert set(Path(tempfile.gettempdir()).glob("minitrain-ray-*")) == before
    nodes = cluster.list_all_nodes()
    assert len(nodes) == 1
    assert nodes[0].remaining_processes_alive()


@pytest.mark.parametrize("what", ["nothing", "kill", "raise"])
def test_ray_ends_with_the_bytes_of_one(folder: Path, what: str):
    pytest.importorskip("ray")
    (folder / "plugin.py").write_text(ONCE)
    train(folder, "one", "trainer.gradient_sum=tree")
    misfortune = [f"callbacks=[{{name: misfortune, what: {what}, rank: 1, step: 3}}]"] * (what != "nothing")
    command = [*TRAIN, "--plugin", "plugin.py", *SETTINGS, "run_dir=ray", "distributed=ray", "ranks=2", *misfortune]
    result = subprocess.run(
        [*command, "max_failures=1"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=LIMIT
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
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=LIMIT)
    assert result.returncode == 1
    assert "ZeroDivisionError: a misfortune" in result.stderr + result.stdout
