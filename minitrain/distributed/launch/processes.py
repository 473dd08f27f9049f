"""Ranks as processes of this machine, started here and ended together."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from ...backend.cores import usable_cores
from ...errors import ConfigError
from ..tcp.meeting import free_port
from .gpus import VISIBLE, visible_to

GRACE = 2.5
"""Seconds from the end of a rank to that of the others: they end by themselves, and are killed if they do not."""
STANDSTILL = 3.0
"""Seconds after which a stopped rank counts as failed; before the ranks have met, nobody else would notice."""
_LOOK = 0.05


def run_processes(command: Sequence[str], ranks: int) -> int:
    """Run ``command`` once for each rank and wait until all have ended.

    Signals go to rank 0, which tells the others: the step is finished and saved. If one rank fails, so do all.

    Args:
        command: the program and its arguments, the same for all ranks.
        ranks: how many.

    Returns:
        The exit code of the rank that failed first; 0 if none did.

    Raises:
        ConfigError: if there would be more than four ranks to a core.
    """
    cores = usable_cores().number
    if ranks > 4 * cores:
        raise ConfigError(f"ranks={ranks} on {cores} cores: use at most {4 * cores}")
    shared = {
        "MINITRAIN_RANKS": str(ranks),
        "MINITRAIN_ROOT": f"127.0.0.1:{free_port()}",
        "MINITRAIN_TOKEN": secrets.token_hex(16),
        "MINITRAIN_PARENT": str(os.getpid()),
        "LOCAL_WORLD_SIZE": str(ranks),  # the cores are divided by it
    }
    processes: list[subprocess.Popen[bytes]] = []
    with _passed_on(processes):
        try:
            for rank in range(ranks):
                own = {"MINITRAIN_RANK": str(rank), VISIBLE: visible_to(rank, os.environ)}
                environment = {**os.environ, **shared, **own}
                processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
            return _wait(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all have ended, or for a while after one has failed; the code of the one that was the cause."""
    codes: dict[int, int] = {}  # of those that failed, in this order
    stopped: dict[int, float] = {}  # since when
    deadline = math.inf
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        now = time.monotonic()
        for rank, process in enumerate(processes):
            if process.poll() and rank not in codes:
                codes[rank] = process.returncode
            elif not _is_stopped(process.pid):
                stopped.pop(rank, None)
            elif codes or now - stopped.setdefault(rank, now) > STANDSTILL:
                if not codes:
                    print(f"minitrain: rank {rank} stands still", file=sys.stderr, flush=True)
                codes[rank] = 1
                process.kill()
        if codes:
            deadline = min(deadline, now + GRACE)
        time.sleep(_LOOK)
    for rank, process in enumerate(processes):
        if process.returncode and rank not in codes:
            codes[rank] = process.returncode
    for rank, code in codes.items():
        if code < 0:  # the others only noticed that
            print(f"minitrain: rank {rank} was ended by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
            return 128 - code
    # The cause may end after a rank that only noticed it, which ends with 1.
    causes = [code for code in codes.values() if code != 1]
    return next(iter([*causes, *codes.values()]), 0)


def _is_stopped(pid: int) -> bool:
    """Whether a process stands still by a signal, on Linux."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):
        return False


@contextlib.contextmanager
def _passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Within the ``with`` block, signals that ask to stop go to rank 0."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        for process in processes[:1]:
            with contextlib.suppress(OSError):
                process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
