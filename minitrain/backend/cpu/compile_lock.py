"""Lock files: of several processes that need a kernel, one compiles it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no locks, so no helpers
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None


@contextlib.contextmanager
def exclusive(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file ``path``. While another process holds it, wait, or else yield ``False``.

    Without file locks, do not wait. The file is not deleted: one process could then wait for the old file while another
    holds a new one.
    """
    mine = True
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(path.open("w"))
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        except OSError:  # no locks on this file system: two processes may do the same work; the result is one file
            pass
        yield mine
