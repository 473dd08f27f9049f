"""Runs programs in turn: each in its own process, one busy while the others sleep, compared by pairwise ratios.

Two programs in one process share caches, allocators and thread pools. Two runs one after the other find the
machine in different states. So each program is a child that waits on its standard input, and the parent gives
each its turn, round by round. Round ``i`` of one program is divided by round ``i`` of the other; the result is
the median of these ratios.

The protocol is line by line. The child first sends a greeting. Then each line it reads is a command (a verb
and its arguments), which it answers with one line of JSON. Its other output goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..backend.memory import peak_memory
from ..errors import WorkerError
from ..files import Closing

ROOT = Path(__file__).parents[2]  # the folder that contains minitrain, so that a child imports the same one
PAUSE = 0.4  # seconds before a turn; thread pools spin for up to 0.2 s after their last work, then sleep

Reply = dict[str, Any]


class Worker(Closing):
    """A program in a child process.

    Attributes:
        name: its name in tables.
        greeting: the child's first reply, when it was ready.
        seconds_to_ready: wall time from starting the process to its greeting.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: Mapping[str, str] | None = None,
        timeout: float = 900.0,
        root: Path = ROOT,
    ) -> None:
        """Start ``python -m <arguments>`` in the folder ``root`` and wait for its greeting.

        Args:
            name: its name in tables.
            arguments: module and its arguments.
            environment: variables on top of this process's own.
            timeout: seconds to wait for a reply.
            root: the folder that the child imports minitrain from: this one, or a checkout of another commit.

        Raises:
            WorkerError: if the child fails before its greeting.
        """
        self.name = name
        self._timeout = timeout
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  # open as long as the child lives
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=root,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        try:
            self.greeting = self._read()
        except BaseException:
            self.close()
            raise
        self.seconds_to_ready = time.perf_counter() - began

    def ask(self, command: str) -> Reply:
        """Send one command and wait for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command + "\n")
        except OSError as error:
            raise self._failure("has ended") from error
        return self._read()

    def close(self) -> None:
        """End the child."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended by itself
                self._process.stdin.close()  # the child's loop ends with its input
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _read(self) -> Reply:
        assert self._process.stdout is not None
        timer = threading.Timer(self._timeout, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        in_time = timer.is_alive()
        timer.cancel()
        if not line:
            raise self._failure("stopped" if in_time else f"said nothing for {self._timeout:g} s")
        reply: Reply = json.loads(line)
        return reply

    def _failure(self, what: str) -> WorkerError:
        self._process.kill()
        self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        self.close()
        return WorkerError(f"{self.name} {what}: " + ("\n".join(lines[-5:]) or "it printed nothing"))


def serve(greet: Callable[[], Reply], commands: Mapping[str, Callable[..., Reply]]) -> None:
    """The child's side: greet, then answer commands until the input ends.

    Every answer also has ``peak_rss_mb``, ``cpu_seconds`` (of all threads since the process began) and, except
    for the greeting, ``idle_cpu_seconds``: what its threads spent while it waited for the command. If a
    program's idle threads spin, they disturb the program whose turn it is.

    Args:
        greet: prepares the program; returns the greeting.
        commands: verb -> function of the words after it.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    idle: Reply = {}
    answer = greet()
    while True:
        waiting_since = time.process_time()
        replies.write(json.dumps(answer | idle | {"peak_rss_mb": peak_rss_mb(), "cpu_seconds": waiting_since}) + "\n")
        verb, *words = sys.stdin.readline().split() or [""]
        if not verb:
            return
        idle = {"idle_cpu_seconds": time.process_time() - waiting_since}
        answer = commands[verb](*words)


def take_turns(
    workers: Iterable[Worker], command: str | Mapping[str, str], rounds: int, pause: float = PAUSE
) -> dict[str, list[Reply]]:
    """Let each worker run ``command`` (one for all, or by name) in turn, ``rounds`` times.

    Returns:
        name -> the replies of its rounds; entry ``i`` of all lists belongs to the same round.
    """
    workers = list(workers)
    replies: dict[str, list[Reply]] = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            time.sleep(pause)
            replies[worker.name].append(worker.ask(command if isinstance(command, str) else command[worker.name]))
    return replies


def peak_rss_mb() -> float | None:
    """The peak physical memory of this process, in MB (10^6 bytes), if the system reports it."""
    peak = peak_memory()
    return None if peak is None else peak / 1e6
