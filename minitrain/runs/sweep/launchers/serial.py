"""One job after the other, in the process of the sweep."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from ..jobs import Job, Outcome, Work
from ..stop import signals_handled


class Serial:
    """Needs no engine. A job has all threads, prints to the screen, and finds its kernels loaded already."""

    at_once = 1

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """See `Launcher.run`."""
        for job in jobs:
            if work.stop.level():
                yield Outcome(job.name, "waiting")
                continue
            work.begun(job, "")
            with signals_handled(_leave):  # before and after the training, which handles signals itself
                outcome = work.train(job)
            yield outcome


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
