"""What a run is, in a file of its folder: settings, sizes, versions, and the commands that trained it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...folder import RunFolder
from ...folder.names import RUN_INFO
from ..callback import Callback
from ..facts import facts, hyperparameters

if TYPE_CHECKING:
    from ..trainer import Trainer


class RunInfo(Callback):
    """Writes ``run.json`` into the run folder when training begins; every run folder has one.

    It has the settings (``settings``), and for each session the step that it began at, its command line, and what it
    ran with: number of parameters, versions, system, device, kernels, threads. Names of machines, users and folders
    are in it only if they are in the settings or in the command.
    """

    def on_train_begin(self, trainer: Trainer) -> None:
        """Write the file; the sessions of a resumed run add up.

        Raises:
            FileError: if it cannot be written.
        """
        if trainer.run_dir is None:
            return
        folder = RunFolder(trainer.run_dir)
        session = {"step": trainer.state.step, "command": command_line(), **facts(trainer)}
        content = {"settings": hyperparameters(trainer), "sessions": [*_sessions(folder), session]}
        folder.write(RUN_INFO, json.dumps(content, indent=2, default=str).encode() + b"\n")


def command_line() -> str:
    """How this process was started, ready for a shell; of the program, the name without its folder."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _sessions(folder: RunFolder) -> list[Any]:
    """The sessions before; none if the file is not there, or damaged."""
    try:
        content = folder.read_json(RUN_INFO)
    except (OSError, ValueError):
        return []
    sessions = content.get("sessions") if isinstance(content, dict) else None
    return sessions if isinstance(sessions, list) else []
