"""Tries the mutants of a unit, each in a process of its own that begins as a copy of this one.

What a mistake breaks in its process is gone with it: memory that was overwritten, a loop without an end.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from minitrain.errors import DeviceError
from minitrain.testing.cuda import Schedule, emulate
from minitrain.testing.cuda.emulator import ALL_SCHEDULES
from tests.helpers.cuda.checks import Check

from .switches import Mutated
from .units import MutatedEmulator, Unit, compilable

PATIENCE, SLOWER = 1, 2
"""A mutant hangs after so many seconds of the processor, and so many times as many as all checks take."""


class Result(NamedTuple):
    """One mutant that was tried."""

    path: str  # of the file
    number: int
    killer: str  # the check that noticed it and how, or an empty string


def try_unit(
    unit: Unit, files: Mapping[str, Mutated], todo: Sequence[tuple[str, int]], processes: int, until: float
) -> Iterator[Result]:
    """Plant the mistakes of ``todo``, each a file and a number, and run the unit's checks until one notices.

    Args:
        unit: what is compiled.
        files: all files with their mistakes.
        todo: mistakes in the unit's file or in its headers.
        processes: how many mutants at once.
        until: the time on ``time.monotonic`` when to stop.

    Raises:
        AssertionError: if a check fails without a mistake.
    """
    emulator, checks = compilable(unit, files), unit.checks()
    seconds = dict[str, float]()
    with emulate(emulator):
        for check in checks:
            start = time.process_time()
            check.run()
            seconds[check.name] = time.process_time() - start
    limit = PATIENCE + SLOWER * len(ALL_SCHEDULES) / 2 * sum(seconds.values())
    kills: Counter[str] = Counter()
    running: dict[int, tuple[int, str, int]] = {}  # file descriptor -> process, file, number
    waiting = list(reversed(todo))
    with selectors.DefaultSelector() as selector:
        try:
            while (waiting and time.monotonic() < until) or running:
                while waiting and len(running) < processes and time.monotonic() < until:
                    path, number = waiting.pop()
                    order = sorted(checks, key=lambda check: seconds[check.name] / (1 + kills[check.name]))
                    process, end = _start(_attempt(emulator, files[path], number, order), limit)
                    running[end] = process, path, number
                    selector.register(end, selectors.EVENT_READ)
                for key, _ in selector.select(1.0):
                    assert isinstance(key.fd, int)
                    process, path, number = running.pop(key.fd)
                    selector.unregister(key.fd)
                    killer = _end(key.fd, process)
                    kills[killer.partition(":")[0]] += 1
                    yield Result(path, number, killer)
        finally:
            for end, (process, _, _) in running.items():
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                os.close(end)


def _attempt(emulator: MutatedEmulator, file: Mutated, number: int, checks: Sequence[Check]) -> Callable[[], str]:
    """Run the checks with one mistake; say which check noticed it, and how."""

    def attempt() -> str:
        if file.behind_switch(number):
            emulator.switch_on(file.base + number)
            current = emulator
        else:
            current = MutatedEmulator({file.path: file.with_mistake(number)}, switches=False)
        for check, schedules in _rounds(checks, current):
            current.schedules = schedules
            with emulate(current):
                try:
                    check.run()
                except DeviceError:
                    return "(does not compile)"
                except Exception as error:
                    said = " ".join(str(error).split())[:160]
                    return f"{check.name}: {type(error).__name__}: {said}"
        return ""

    return attempt


def _rounds(checks: Sequence[Check], emulator: MutatedEmulator) -> Iterator[tuple[Check, tuple[Schedule, ...]]]:
    """All checks in the two usual orders of threads, and then in all others, in which warps take turns."""
    usual = emulator.schedules
    others = tuple(schedule for schedule in ALL_SCHEDULES if schedule not in usual)
    for schedules in (usual, others):
        for check in checks:
            yield check, schedules


def _start(work: Callable[[], str], seconds: float) -> tuple[int, int]:
    """Run ``work`` in a copy of this process; its number, and where its answer comes."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:
        os.close(reading)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        signal.setitimer(signal.ITIMER_PROF, seconds)  # ends the process after so much time of the processor
        os.write(writing, ("=" + work()).encode())
    finally:
        os._exit(0)


def _end(reading: int, process: int) -> str:
    """The answer of a process that has ended, or how it ended."""
    with os.fdopen(reading, "rb") as file:
        answer = file.read().decode()
    _, status = os.waitpid(process, 0)
    if answer:
        return answer[1:]
    number = os.waitstatus_to_exitcode(status)
    return "(hangs)" if number == -signal.SIGPROF else f"(the process ends with {number})"
