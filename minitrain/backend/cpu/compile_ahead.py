"""Other processes compile the kernels that will be needed soon, while this one compiles those needed now.

The first step of a training needs some twenty kernels, one after the other. When one is missing on disk, helper
processes are asked to compile all that its file expects (``USED_WITH``), the largest first. This process then finds
kernels there, or compiles those that no helper has reached. Instead of waiting for one that is being written, it
compiles another one of them. A lock file for each kernel keeps two processes from doing the same work; it is released
when its owner dies. If the helpers fail, only time is lost.

A helper is a new Python with the same search path, not a fork: it works from notebooks and from scripts without
``if __name__ == "__main__"``. It has one thread. It ends when its pipe closes, which happens however the parent process
ends, or after ``PATIENCE`` seconds without work. There is one for each further thread that is allowed, at most
``HELPERS``; with only one thread, there is none.
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
from collections.abc import Sequence
from pathlib import Path

from ..threads import thread_count
from .compile_lock import HAS_LOCKS
from .products.blas import blas

PATIENCE = 5.0  # seconds without work after which a helper ends; it holds 100 to 250 MB
HELPERS = 3  # at most: then attention's backward alone takes as long as the rest


_helpers: list[subprocess.Popen[str]] = []


def compile_ahead(module: str, names: Sequence[str], form: str = "float32") -> bool:
    """Ask the helpers, if there may be any, to compile kernels of ``module``.

    Args:
        module: the file of kernels.
        names: their names there, or none for all kernels of this file and of those that are used with it.
        form: of those kernels that have several.

    Returns:
        Whether they were asked.
    """
    if thread_count() == 1 or not _can_start_python():
        return False
    with contextlib.suppress(OSError):  # they did not start, or have just ended: nothing is compiled ahead
        for helper in _running_helpers(min(thread_count() - 1, HELPERS)):
            assert helper.stdin is not None
            helper.stdin.write(f"{form} {module} {' '.join(names)}\n")
            helper.stdin.flush()
        return True
    return False


def _can_start_python() -> bool:
    """Whether ``sys.executable`` is a Python; in a program that embeds Python it is that program."""
    is_python = Path(sys.executable or "").name.lower().startswith(("python", "pypy"))
    return HAS_LOCKS and is_python and not getattr(sys, "frozen", False)


def _running_helpers(count: int) -> list[subprocess.Popen[str]]:
    if any(helper.poll() is not None for helper in _helpers):
        stop()  # one ended because it had no work; its pipe is still open
    if not _helpers:
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("MINITRAIN", "NUMBA", "OPENBLAS", "OMP")}
        path = os.pathsep.join(filter(None, sys.path))
        found = blas()  # a checkpoint may have chosen it, which the helper cannot know
        linked = {"MINITRAIN_BLAS": "numpy" if found is None else found.product.name}
        for _ in range(count):
            helper = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                env={**os.environ, **one_thread, **linked, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the program alone
            )
            _helpers.append(helper)
    return _helpers


def stop() -> None:
    """End the helpers, if there are any. A kernel that one is compiling is dropped."""
    while _helpers:
        helper = _helpers.pop()
        assert helper.stdin is not None
        with contextlib.suppress(OSError):
            helper.stdin.close()
        helper.kill()
        helper.wait()


atexit.register(stop)


def main() -> None:
    """Compile what is asked for on standard input, line by line, until it closes or stays silent."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)  # at once, even in the middle of a kernel: the parent is gone

    threading.Thread(target=read, daemon=True).start()
    missing = importlib.import_module(f"{__package__}.jit").missing  # it imports this module

    with contextlib.suppress(queue.Empty):
        while True:
            form, module, *names = lines.get(timeout=PATIENCE).split()
            for kernel in missing(module, names, form):
                kernel.compile_to_disk(wait=False)
    os._exit(0)  # the reader thread is blocked in a read that cannot be interrupted


if __name__ == "__main__":
    main()
