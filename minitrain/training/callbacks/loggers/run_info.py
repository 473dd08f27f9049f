"""The description of a run in its folder: settings, sizes, versions, and the commands that trained it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....folder import RunFolder
from ....folder.names import CONFIG, RUN_INFO, TOKENIZER
from ...setup import RunContext, Setup, StepView, facts_of_setup
from ..base import Callback


class RunInfo(Callback):
    """Describes the run in its folder when training begins.

    ``run.json`` has the settings (``settings``), and for each session its first step, its command line, and what it
    ran with: number of parameters, versions, system, device, kernels, threads, what multiplies matrices. Names of
    machines, users and folders are in it only if they are in the settings or in the command.

    A run that was put together in Python also gets the ``config.yaml`` (``kind: python``) and the ``tokenizer.json``
    that the commands ``plot``, ``compare``, ``info``, ``eval`` and ``generate`` look for.
    """

    on_every_rank = False

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Write the file; the sessions of a resumed run add up.

        Raises:
            FileError: if it cannot be written.
        """
        if run.folder is None:
            return
        folder = RunFolder(run.folder)
        session = {"step": view.step, "command": command_line(), **facts_of_setup(setup)}
        content = {"settings": run.settings, "sessions": [*_sessions(folder), session]}
        folder.write(RUN_INFO, json.dumps(content, indent=2, default=str).encode() + b"\n")
        if not folder.exists(CONFIG):  # the command line writes its own before it trains
            _describe_python_run(folder, run.settings, run.tokenizer)


def _describe_python_run(folder: RunFolder, settings: Mapping[str, Any], tokenizer: Any) -> None:
    import yaml  # type: ignore[import-untyped]

    plain = json.loads(json.dumps({"kind": "python", **settings}, default=str))
    folder.write(CONFIG, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())
    if hasattr(tokenizer, "to_json"):
        folder.write(TOKENIZER, json.dumps(tokenizer.to_json()).encode() + b"\n")


def command_line() -> str:
    """How this process was started, ready for a shell; of the program, the name without its folder."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _sessions(folder: RunFolder) -> list[Any]:
    """The sessions before; none if the file is not there, or damaged."""
    try:
        content = folder.read_json(RUN_INFO) if folder.exists(RUN_INFO) else {}
    except ValueError:
        return []
    sessions = content.get("sessions") if isinstance(content, dict) else None
    return sessions if isinstance(sessions, list) else []
