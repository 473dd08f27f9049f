"""Two ranks on two hosts, which are network namespaces, with a bad network between them; see ``two_hosts``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributed.faults.sessions import LIMIT, WELL, Pace, refuse_anything_lost, same, saved, train_whole
from tests.distributed.faults.two_hosts import ADDRESSES, Hosts, two_hosts
from tests.distributed.small_trainings import environment
from tests.distributed.test_processes import folder, run

assert folder  # a fixture
pytestmark = pytest.mark.slow
PORT = 29500


@contextlib.contextmanager
def network(folder: Path, *, delay: float = 0.0, loss: float = 0.0) -> Iterator[Hosts]:
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(two_hosts(folder, delay=delay, loss=loss))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"two network namespaces cannot be made here: {error}")
        yield hosts


def start(folder: Path, hosts: Hosts, command: list[str]) -> list[subprocess.Popen[str]]:
    """One rank on each host, started as any launcher may."""
    variables = {"MINITRAIN_RANKS": "2", "MINITRAIN_ROOT": f"{ADDRESSES[0]}:{PORT}", "MINITRAIN_TOKEN": "x"}
    return [
        subprocess.Popen(
            [*hosts.on(rank), *command],
            cwd=folder,
            env=environment(**variables, MINITRAIN_RANK=str(rank)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def wait_for_a_checkpoint(folder: Path, ranks: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 300
    while not saved(folder / "run/checkpoints") and time.monotonic() < deadline:
        assert all(rank.poll() is None for rank in ranks), [rank.communicate()[1] for rank in ranks if rank.poll()]
        time.sleep(0.02)


@pytest.mark.parametrize(("delay", "loss"), [(0.02, 0.0), (0.0, 0.05), (0.01, 0.02)])
def test_a_slow_and_lossy_network_changes_no_byte(folder: Path, delay: float, loss: float) -> None:
    base = train_whole(folder)
    with network(folder, delay=delay, loss=loss) as hosts:
        ranks = start(folder, hosts, [*base, *WELL, "run_dir=run"])
        errors = [rank.communicate(timeout=500)[1] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0], errors
    assert same(folder, "run")


def test_a_short_cut_is_survived(folder: Path) -> None:
    """Shorter than the silence after which a rank counts as lost: TCP sends again what was lost meanwhile."""
    base = train_whole(folder)
    with network(folder) as hosts:
        ranks = start(folder, hosts, [*base, *WELL, "run_dir=run"])
        wait_for_a_checkpoint(folder, ranks)
        hosts.cut()
        time.sleep(1.5)
        hosts.mend()
        errors = [rank.communicate(timeout=300)[1] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0], errors
    assert same(folder, "run")


def test_a_cut_network_ends_both_and_the_run_goes_on(folder: Path) -> None:
    base = train_whole(folder)
    with network(folder) as hosts:
        ranks = start(folder, hosts, [*base, *WELL, "run_dir=run"])
        wait_for_a_checkpoint(folder, ranks)
        before = saved(folder / "run/checkpoints")
        hosts.cut()
        began = time.monotonic()
        with Pace() as pace:
            errors = [rank.communicate(timeout=300)[1] for rank in ranks]
        took = time.monotonic() - began
        print(f"both ended {took:.1f} s after the cut, at a pace of {pace.factor:.1f}")
        assert took < LIMIT * pace.factor, (took, errors)
        assert all(rank.returncode for rank in ranks)
        assert "no sign of life" in errors[0]
        refuse_anything_lost(folder, before, folder / "run/checkpoints")
        hosts.mend()
        ranks = start(folder, hosts, [*base, "--resume", "run"])
        errors = [rank.communicate(timeout=300)[1] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0, 0], errors
    assert same(folder, "run")


def test_hosts_that_cannot_reach_each_other_give_up(folder: Path) -> None:
    """Within the minute that ranks have to meet."""
    base = train_whole(folder)
    with network(folder) as hosts:
        hosts.cut()
        began = time.monotonic()
        ranks = start(folder, hosts, [*base, *WELL, "run_dir=run"])
        with Pace() as pace:
            errors = [rank.communicate(timeout=400)[1] for rank in ranks]
        assert time.monotonic() - began < 60 + LIMIT * pace.factor
        assert all(rank.returncode for rank in ranks)
        assert "rank 1 did not come in time" in errors[0]
        assert f"no rank of this training listens at {ADDRESSES[0]}:{PORT}" in errors[1]
    assert not (folder / "run").exists()


ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("", 9))
    while True:
        data, sender = one.recvfrom(100)
        one.sendto(data, sender)
"""
ASK = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(0.5)
    times = []
    for number in range(30):
        began = time.monotonic()
        one.sendto(bytes([number]), (sys.argv[1], 9))
        try:
            while one.recv(100) != bytes([number]):
                pass
            times.append(time.monotonic() - began)
        except TimeoutError:
            pass
print(len(times), min(times, default=0))
"""


def test_packets_are_late_and_lost(tmp_path: Path) -> None:
    """The network is as bad as it was asked to be, or the tests above would prove nothing."""
    with network(tmp_path, delay=0.05, loss=0.3) as hosts:
        echo = subprocess.Popen([*hosts.on(1), sys.executable, "-c", ECHO])
        try:
            time.sleep(1)
            ask = [*hosts.on(0), sys.executable, "-c", ASK, ADDRESSES[1]]
            answers, shortest = run(ask, tmp_path).stdout.split()
            assert 3 < int(answers) < 27  # about half: a packet is lost on its way there or back
            assert float(shortest) >= 0.1
            hosts.cut()
            time.sleep(0.2)
            assert run(ask, tmp_path).stdout.split()[0] == "0"
        finally:
            echo.kill()
            echo.wait()
