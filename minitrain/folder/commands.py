"""Command lines that a message tells the user to type next: each works as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

_plugins: list[str] = []  # what a run of this process may have from ``--plugin``, and needs again


def note_plugins(files: Sequence[str]) -> None:
    """Note which files were given with ``--plugin``, as they were typed."""
    _plugins[:] = files


def resume_command(folder: str | Path, *, sweep: bool = False, trust: bool = False) -> str:
    """The command that continues a run or a sweep, with the ``--plugin`` files of this process.

    Args:
        folder: its folder.
        sweep: whether it is a sweep.
        trust: whether its settings lead out of its folder.
    """
    options = [option for file in _plugins for option in ("--plugin", file)]
    options += ["--trust"] if trust else []
    return shlex.join(["minitrain", "train", *["--multirun"] * sweep, "--resume", str(folder), *options])
