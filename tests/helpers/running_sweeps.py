"""Waiting for what a sweep has started."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path


def when_running(folder: Path, count: int, action: Callable[[], object]) -> None:
    """Call ``action`` when so many jobs run; signals are handled in the main thread, which waits for the jobs."""

    def watch() -> None:
        wait_for(lambda: sum("running" in log.read_text() for log in folder.glob("*/log.txt")) >= count)
        action()

    threading.Thread(target=watch, daemon=True).start()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)
