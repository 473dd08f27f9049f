"""Runs a part in a process of its own: reads its results as they come, and ends it when its time is over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minitrain.benchmark.turns import ROOT

from .report import Report

LOOK = 0.1  # seconds between two looks
RESTARTS = 20
ENDED = "ended the process"


class Part(NamedTuple):
    """A part of the report.

    Attributes:
        name: on the command line.
        summary: in one line.
        module: below ``benchmarks.gpu.parts``, or with a dot a full name; its ``run(place, options)`` does the work.
        seconds: its time limit.
        options: passed to ``run``, such as the name of a model.
        goes_on: whether a new process goes on after a step that has ended the old one. Such a part calls
            ``events.begin`` before each step, and leaves out those up to ``options["after"]``.
    """

    name: str
    summary: str
    module: str
    seconds: float
    options: Mapping[str, Any] = {}
    goes_on: bool = False


def run_part(
    part: Part, report: Report, *, seconds: float, emulated: bool, on_change: Callable[[], None] = lambda: None
) -> None:
    """Run a part; whatever happens in it becomes a line of the report.

    Args:
        part: what to run.
        report: takes the results, and is written after each.
        seconds: until the part is ended.
        emulated: whether it runs without a card.
        on_change: called after each look that found something.
    """
    began, options = time.monotonic(), dict(part.options)
    report.start(part.name)
    report.write()
    state, why, restarts = "done", "", 0
    for attempt in range(1 + RESTARTS):
        left = seconds - (time.monotonic() - began)
        if left <= 0:
            state, why = "out of time", f"it had {seconds:.0f} s"
            break
        child = _Child(part, options, emulated)
        try:
            state, why = child.follow(left, report, on_change)
        finally:
            child.close()
        stuck = child.latest is None or child.latest == options.get("after")
        if state != "failed" or not part.goes_on or stuck or attempt == RESTARTS:
            break
        options["after"] = child.latest
        restarts += 1
    if state == "done" and restarts:
        why = f"a new process went on {restarts} times"
    report.finish(part.name, state, time.monotonic() - began, why)
    report.write()
    on_change()


class _Child:
    """The process of a part.

    Attributes:
        latest: the step that it began last.
    """

    def __init__(self, part: Part, options: Mapping[str, Any], emulated: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="minitrain-gpu-report-")
        self._events, log = Path(self._folder.name, "events"), Path(self._folder.name, "log")
        self._events.touch()
        self._log = log.open("w+")
        self._part, self.latest, self._done = part, options.get("after"), False
        self._began_a_step = False
        command = [sys.executable, "-m", "benchmarks.gpu.child", part.module, json.dumps(options), str(self._events)]
        self._process = subprocess.Popen(
            command + (["--emulated"] if emulated else []),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own children end with it
        )
        self._read = self._events.open()

    def follow(self, seconds: float, report: Report, on_change: Callable[[], None]) -> tuple[str, str]:
        """Read events until the process ends or its time is over; how it ended, and why."""
        until = time.monotonic() + seconds
        while True:
            ended = self._process.poll() is not None
            if self._take(report):
                report.write()
                on_change()
            if ended:
                break
            if time.monotonic() > until:
                return "out of time", f"it had {seconds:.0f} s" + (
                    f", the last of them for {self.latest}" if self.latest else ""
                )
            time.sleep(LOOK)
        if self._process.returncode == 0:
            return "done", ""
        why = self._reason()
        if self._part.goes_on and self._began_a_step:
            table = self._part.summary
            report.add(
                self._part.name,
                {"kind": "row", "table": table, "key": self.latest, "cells": {"result": f"{ENDED}: {why}"}},
            )
        return "failed", why

    def _take(self, report: Report) -> bool:
        """Read what is new."""
        found = False
        while True:
            place = self._read.tell()
            line = self._read.readline()
            if not line.endswith("\n"):
                self._read.seek(place)  # half a line: the rest comes
                return found
            event = json.loads(line)
            if event["kind"] == "begin":
                self.latest, self._began_a_step = event["key"], True
                continue
            if event["kind"] == "row" and event["key"] == self.latest:
                self._began_a_step = False  # it has told how the step went
            report.add(self._part.name, event)
            found = True

    def _reason(self) -> str:
        """Why the process ended, in one line."""
        code = self._process.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return f"{lines[-1][:300]} ({how})" if lines else how

    def close(self) -> None:
        """End the process and all that it started, if they run still."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._read.close()
        self._log.close()
        self._folder.cleanup()


def choose(parts: Sequence[Part], names: str | None) -> list[Part]:
    """The named parts, in the order of the report; all without names.

    Raises:
        ValueError: if there is no such part.
    """
    if not names:
        return list(parts)
    wanted = names.split(",")
    known = [part.name for part in parts]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"there is no part {unknown[0]!r}: choose from {', '.join(known)}")
    return [part for part in parts if part.name in wanted]
