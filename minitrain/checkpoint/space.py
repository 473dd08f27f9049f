"""Whether a checkpoint fits on the disk, asked before a byte of it is written."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backend.arrays import is_array
from ..distributed.pieces import Piece
from ..files import FileError
from ..formats import size
from .format import Contents

_REST = 1 << 20  # headers, JSON, and what a file system needs for a folder with five files


def size_of(contents: Contents) -> int:
    """How many bytes a checkpoint takes on the disk, at most a few megabytes wrong."""
    return _bytes_of([contents.model, contents.optimizer, contents.state]) + _REST


def free_space(folder: Path) -> int:
    """Free bytes where ``folder`` is, or will be.

    Raises:
        OSError: if the system does not say.
    """
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(what: str, needed: int, folder: Path) -> None:
    """Make sure that ``needed`` bytes fit where ``folder`` is.

    Raises:
        FileError: if not; the message names both sizes and what to do.
    """
    try:
        free = free_space(folder)
    except OSError:  # then the write will tell
        return
    if needed > free:
        raise FileError(
            f"cannot save {what}: it needs {size(needed)}, and {size(free)} are free where {folder} is; free "
            "some space, keep fewer checkpoints (trainer.keep_checkpoints), or write to another disk"
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _bytes_of(tree: Any) -> int:
    """Bytes of arrays, and about as many as JSON takes for the rest."""
    if is_array(tree):
        return int(tree.nbytes)
    if isinstance(tree, Piece):  # the ranks together write all of it
        return math.prod(tree.shape) * tree.data.itemsize
    if isinstance(tree, Mapping):
        return sum(len(str(name)) + 8 + _bytes_of(value) for name, value in tree.items())
    if isinstance(tree, list | tuple):
        return sum(map(_bytes_of, tree))
    return 24 + (len(tree) if isinstance(tree, str) else 0)
