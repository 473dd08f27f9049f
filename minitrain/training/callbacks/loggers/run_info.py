"""What a run is, in a file of its folder: settings, sizes, versions, and the commands that trained it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from ....files import write_atomically
from ...callback import Callback
from ...facts import facts
from ...setup import RunContext, Setup, StepView

RUN_INFO = "run.json"


class RunInfo(Callback):
    """Writes ``run.json`` into the run folder when training begins; every run folder has one.

    It has the settings (``settings``), and for each session the step that it began at, its command line, and what it
    ran with: number of parameters, versions, system, device, kernels, threads. Names of machines, users and folders
    are in it only if they are in the settings or in the command.
    """

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Write the file; the sessions of a resumed run add up.

        Raises:
            FileError: if it cannot be written.
        """
        if run.folder is None:
            return
        path = run.folder / RUN_INFO
        session = {"step": view.step, "command": command_line(), **facts(setup.model, setup.device)}
        content = {"settings": run.settings, "sessions": [*_sessions(path), session]}
        write_atomically(path, json.dumps(content, indent=2, default=str).encode() + b"\n")


def command_line() -> str:
    """How this process was started, ready for a shell; of the program, the name without its folder."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _sessions(path: Path) -> list[Any]:
    """The sessions before; none if the file is not there, or damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    sessions = content.get("sessions") if isinstance(content, dict) else None
    return sessions if isinstance(sessions, list) else []
