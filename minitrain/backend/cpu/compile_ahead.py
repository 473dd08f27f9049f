"""A second process that compiles kernels which will be needed soon, while this one compiles those needed now.

Who runs a forward usually runs its backward a moment later. When a kernel is missing on disk, the other kernels of
its file are therefore named to a helper process, which puts them on disk; this process finds them there, waits for the
one that is being written, or compiles what the helper has not come to. A lock file for each kernel keeps two processes
from the same work; it is free again when its owner dies. A helper that fails thus costs time and nothing else.

The helper is another Python with this one's search path, and no fork: it works from notebooks and from scripts without
``if __name__ == "__main__"``. It has one thread, and ends with its pipe: when the process that started it ends, however
that happens, or after ``PATIENCE`` seconds without work. Where one thread is all that may run there is none.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ..threads import thread_count

try:
    import fcntl
except ImportError:  # Windows: no locks, so no helper
    fcntl = None  # type: ignore[assignment]

PATIENCE = 5.0  # seconds without work after which a helper ends; it holds 100 MB


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, and wait for it if another process does. Without file locks nobody waits.

    The file stays: if it went with its lock, one process could wait for the old file while another holds a new one.
    """
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(path.open("w"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: two processes may do the same work, and end with one file
            pass
        yield


_helper: subprocess.Popen[str] | None = None


def compile_ahead(module: str, kernels: list[str]) -> None:
    """Let the helper compile the ``kernels`` of ``module``, by their names, if there may be a helper."""
    if not kernels or thread_count() == 1 or not _can_start_python():
        return
    with contextlib.suppress(OSError):  # no process to be had, or it has just ended: nothing is compiled ahead
        pipe = _running_helper().stdin
        assert pipe is not None
        pipe.writelines(f"{module} {name}\n" for name in kernels)
        pipe.flush()


def _can_start_python() -> bool:
    """Whether ``sys.executable`` is a Python: in a program that has one inside, it would be that program."""
    is_python = Path(sys.executable or "").name.lower().startswith(("python", "pypy"))
    return fcntl is not None and is_python and not getattr(sys, "frozen", False)


def _running_helper() -> subprocess.Popen[str]:
    global _helper
    if _helper is not None and _helper.poll() is not None:
        stop()  # it had no work for a while and ended; its pipe is still open
    if _helper is None:
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("MINITRAIN", "NUMBA", "OPENBLAS", "OMP")}
        path = os.pathsep.join(filter(None, sys.path))
        _helper = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            env={**os.environ, **one_thread, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the program alone
        )
    return _helper


def stop() -> None:
    """End the helper, if there is one; a kernel it is at is dropped."""
    global _helper
    if _helper is not None:
        assert _helper.stdin is not None
        with contextlib.suppress(OSError):
            _helper.stdin.close()
        _helper.kill()
        _helper.wait()
        _helper = None


atexit.register(stop)


def main() -> None:
    """Compile the kernels named on standard input, one a line, until it ends or stays silent."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            names.put(line)
        os._exit(0)  # at once, in the middle of a kernel: who has asked is gone

    threading.Thread(target=read, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        while True:
            module, name = names.get(timeout=PATIENCE).split()
            getattr(importlib.import_module(module), name).compile_to_disk()
    os._exit(0)  # the reader sits in a read that nothing interrupts


if __name__ == "__main__":
    main()
