"""Failures as the user sees them: one line, and an exit code that says whose turn it is."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator

from ..errors import MinitrainError, NonFiniteError, WorkerError, printable
from ..folder import RunFolder
from ..folder.names import TRACEBACK
from ..formats import one_line

RUN_FAILED = 1
USER_MISTAKE = 2
CTRL_C = 130
_BROKEN_PIPE = 141  # as the shell reports any program whose reader has gone

# The machine gave out under a run that was asked for correctly.
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

quiet = False
"""Whether warnings are left to another process, that of rank 0."""


def report(error: BaseException) -> int:
    """Print ``error`` as one line on stderr and return the exit code for it."""
    if isinstance(error, BrokenPipeError):
        # The reader of our output left (``minitrain generate … | head``): nobody to tell, nothing to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _BROKEN_PIPE
    message, code = describe(error)
    if _debugging() and not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)
    print(f"minitrain: {one_line(message)}", file=sys.stderr)
    return code


def warn(message: str) -> None:
    """Tell the user of something odd that stops nothing, in one line on stderr."""
    if quiet:
        return
    print(f"minitrain: warning: {one_line(message)}", file=sys.stderr)


@contextlib.contextmanager
def traceback_kept_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """If the block fails in a way nobody foresaw, write the traceback into ``folder`` and say so."""
    try:
        yield
    except Exception as error:
        if _foreseen(error):
            raise
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # the error itself matters more than its record
            path = RunFolder(folder).write(TRACEBACK, text.encode(errors="backslashreplace"))
            error.add_note(f"the traceback is in {path}")
        raise


def say(text: str) -> None:
    """Print text with names, settings or words of users in it: control characters escaped, passwords left out."""
    print(printable(text), flush=True)


def _debugging() -> bool:
    return os.environ.get("MINITRAIN_DEBUG", "0") not in ("", "0")


def _foreseen(error: BaseException) -> bool:
    return isinstance(error, MinitrainError | OSError | MemoryError) or _missing_package(error) is not None


def _missing_package(error: BaseException) -> str | None:
    """The package of somebody else that could not be imported, if that is what happened."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    return name.partition(".")[0] if name and not name.startswith("minitrain") else None


def describe(error: BaseException) -> tuple[str, int]:
    """The message and the exit code for ``error``."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", CTRL_C
    signals = sys.modules.get("minitrain.training.signals")  # a command that never loaded it was not interrupted by it
    if signals is not None and isinstance(error, signals.Interrupted):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        advice = "make trainer.batch_size, data.block_size or the model smaller"
        return f"error: out of memory ({str(error) or 'nothing left to allocate'}): {advice}", RUN_FAILED
    if _foreseen(error):
        machine = isinstance(error, OSError) and _errno(error) in _OUT_OF_SPACE
        failed = machine or isinstance(error, NonFiniteError | WorkerError)
        return f"error: {_text(error)}", RUN_FAILED if failed else USER_MISTAKE
    notes = getattr(error, "__notes__", None) or ["set MINITRAIN_DEBUG=1 to see the traceback"]
    return f"this is a bug in minitrain: {type(error).__name__}: {error} ({notes[-1]})", RUN_FAILED


def _text(error: BaseException) -> str:
    if package := _missing_package(error):
        return f"the package {package} is not installed in {sys.prefix}; is this the environment of minitrain?"
    if isinstance(error, OSError) and error.filename is not None and not isinstance(error, MinitrainError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _errno(error: OSError) -> int | None:
    """The system's number for ``error``, also when one of our own errors wraps the system's."""
    if error.errno is None and isinstance(error.__cause__, OSError):
        return _errno(error.__cause__)
    return error.errno
