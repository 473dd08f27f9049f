"""A second process compiles the kernels that will be needed soon, while this one compiles those needed now.

A forward is usually followed by its backward. When a kernel is missing on disk, a helper process is therefore asked to
compile the other kernels of its file to disk. This process then finds them there, waits for the one that is being
written, or compiles those that the helper has not reached. A lock file for each kernel keeps two processes from doing
the same work; it is released when its owner dies. If the helper fails, only time is lost.

The helper is a new Python with the same search path, not a fork: it works from notebooks and from scripts without
``if __name__ == "__main__"``. It has one thread. It ends when its pipe closes, which happens however the parent process
ends, or after ``PATIENCE`` seconds without work. With only one thread allowed, there is no helper.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import operator
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ..threads import thread_count
from .products.blas import blas

try:
    import fcntl
except ImportError:  # Windows: no locks, so no helper
    fcntl = None  # type: ignore[assignment]

PATIENCE = 5.0  # seconds without work after which a helper ends; it holds 100 MB


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; wait for it while another process holds it. Without file locks, do not wait.

    The file is not deleted: one process could then wait for the old file while another holds a new one.
    """
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(path.open("w"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # no locks on this file system: two processes may do the same work; the result is one file
            pass
        yield


_helper: subprocess.Popen[str] | None = None


def compile_ahead(module: str, kernels: list[str]) -> bool:
    """Ask the helper, if there may be one, to compile the ``kernels`` of ``module``, such as ``_forward.bfloat16``.

    Returns:
        Whether it was asked.
    """
    if not kernels or thread_count() == 1 or not _can_start_python():
        return False
    with contextlib.suppress(OSError):  # it did not start, or has just ended: nothing is compiled ahead
        pipe = _running_helper().stdin
        assert pipe is not None
        pipe.writelines(f"{module} {name}\n" for name in kernels)
        pipe.flush()
        return True
    return False


def _can_start_python() -> bool:
    """Whether ``sys.executable`` is a Python; in a program that embeds Python it is that program."""
    is_python = Path(sys.executable or "").name.lower().startswith(("python", "pypy"))
    return fcntl is not None and is_python and not getattr(sys, "frozen", False)


def _running_helper() -> subprocess.Popen[str]:
    global _helper
    if _helper is not None and _helper.poll() is not None:
        stop()  # it ended because it had no work; its pipe is still open
    if _helper is None:
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("MINITRAIN", "NUMBA", "OPENBLAS", "OMP")}
        path = os.pathsep.join(filter(None, sys.path))
        found = blas()  # a checkpoint may have chosen it, which the helper cannot know
        linked = {"MINITRAIN_BLAS": "numpy" if found is None else found.product.name}
        _helper = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            env={**os.environ, **one_thread, **linked, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the program alone
        )
    return _helper


def stop() -> None:
    """End the helper, if there is one. A kernel that it is compiling is dropped."""
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
    """Compile the kernels named on standard input, one per line, until it closes or stays silent."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            names.put(line)
        os._exit(0)  # at once, even in the middle of a kernel: the parent is gone

    threading.Thread(target=read, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        while True:
            module, name = names.get(timeout=PATIENCE).split()
            operator.attrgetter(name)(importlib.import_module(module)).compile_to_disk()
    os._exit(0)  # the reader thread is blocked in a read that cannot be interrupted


if __name__ == "__main__":
    main()
