"""A job in a process of its own: started, watched, asked to stop; and the side of the process that is asked.

Every launcher but the serial one runs its jobs like this, whatever engine decides where and when. So a job that runs
out of memory takes no other with it, its output has a file of its own, and it ends when whoever started it is gone.

The process gets no signals: it is born with them blocked, and is asked to stop through its standard input. Terminals
and batch systems signal every process they find, so a job would get the same request several times, and the second one
means "at once, without saving". The end of the input is a request, too.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

from ...errors import DataError
from ...files import file_error, make_folder
from .jobs import Job, Outcome
from .stop import signals_blocked, signals_handled

_POLL_SECONDS = 0.1
_ENDED_BY_REQUEST = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class JobProcess:
    """A job that runs in a process of its own.

    Args:
        job: the job.
        environment: variables for it beside those of this process.

    Raises:
        DataError: if the folder of the job is a link.
        FileError: if its log cannot be written.
    """

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.job = job
        self._asked = 0
        self._started = time.monotonic()
        with _open_log(job) as log, signals_blocked(signal.SIGINT, signal.SIGTERM):
            self._process = subprocess.Popen(
                job.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )

    def ask(self, level: int) -> None:
        """Ask the job to stop, as `StopFile.level` says; what it was asked before is not asked again."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended
            for _ in range(level - self._asked):
                self._process.stdin.write(b"s")
                self._process.stdin.flush()
        self._asked = max(self._asked, level)
        if level > 2:
            self._process.kill()

    def poll(self) -> Outcome | None:
        """The result of the job; ``None`` while it runs. Waits for a moment."""
        try:
            return self._outcome(self._process.wait(_POLL_SECONDS))
        except subprocess.TimeoutExpired:
            return None

    def finish(self) -> Outcome:
        """Ask the job to save and end, and wait for that."""
        self.ask(1)
        return self._outcome(self._process.wait())

    def close(self) -> None:
        """Let go of the job. If it still runs it saves and ends, as it would if this process died."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _outcome(self, code: int) -> Outcome:
        seconds = time.monotonic() - self._started
        if code == 0:
            return Outcome(self.job.name, "finished", seconds=seconds)
        if code in _ENDED_BY_REQUEST or self._asked > 2:
            return Outcome(self.job.name, "interrupted", seconds=seconds)
        message = _last_line(self.job)
        if code < 0:
            name = signal.Signals(-code).name
            out_of_memory = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
            message = f"its process was ended by {name}{out_of_memory}"
        return Outcome(self.job.name, "failed", message, seconds)


def execute(job: Job, environment: Mapping[str, str], asked: Callable[[], int] = lambda: 0) -> Outcome:
    """Do a job in a process of its own and wait for its end; any number of threads may do so.

    Args:
        job: the job.
        environment: variables for it beside those of this process.
        asked: how much it is asked to stop beside what its `StopFile` says.
    """
    if max(job.stop.level(), asked()):
        return Outcome(job.name, "waiting")
    try:
        process = JobProcess(job, environment)
    except (DataError, OSError) as error:
        return Outcome(job.name, "failed", str(error))
    try:
        while (outcome := process.poll()) is None:
            process.ask(max(job.stop.level(), asked()))
        return outcome
    finally:
        process.close()


def execute_alone(job: Job, environment: Mapping[str, str], asked: Callable[[], int] = lambda: 0) -> Outcome:
    """Do a job from a process that an engine started for this, and whose signals ask the job to save and end."""
    signals: list[int] = []
    with signals_handled(lambda number, frame: signals.append(number)):
        return execute(job, environment, lambda: max(asked(), min(1, len(signals))))


@contextlib.contextmanager
def obeying_the_starter() -> Iterator[None]:
    """In the process of a job: turn what comes on standard input into SIGTERM for this process.

    The handlers of the main thread are called as if the signal had come. While the job is prepared there is nothing
    to save, and the first request ends it.
    """
    with signals_handled(_leave):
        threading.Thread(target=_listen, args=(0,), name="stop requests", daemon=True).start()
        yield


def _listen(requests: int) -> None:
    asked = False
    while os.read(requests, 1):
        asked = True
        _thread.interrupt_main(signal.SIGTERM)
    if not asked:  # whoever started the job is gone
        _thread.interrupt_main(signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _open_log(job: Job) -> Any:
    """The job's log, to append to; a link there would lead out of the folder, which somebody else may have made."""
    if job.folder.is_symlink():
        raise DataError(f"{job.folder} is a link, not the folder of a run; remove it")
    make_folder(job.folder)
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.fdopen(os.open(job.log, flags, 0o644), "ab", buffering=0)
    except OSError as error:
        raise file_error("write", job.log, error) from error


def _last_line(job: Job) -> str:
    """The last line of a job's log: the command line ends with the error, in one line."""
    with open(job.log, "rb") as log:
        log.seek(max(0, os.path.getsize(job.log) - 4000))
        lines = log.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"]
    line = lines[-1].removeprefix("minitrain: ").removeprefix("error: ")
    return "".join(sign if sign.isprintable() else "?" for sign in line)
