"""The programs of Slurm that a script of the documentation calls, on this machine.

``srun`` starts a process for each task with the variables that Slurm sets, hands signals on, and ends with the highest
code, as Slurm does. ``scontrol`` notes what is queued again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def install(folder: Path) -> None:
    """Put the programs into a folder for ``PATH``, and one called minitrain."""
    folder.mkdir()
    for name in ("srun", "scontrol"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        program.chmod(0o755)
    minitrain = folder / "minitrain"
    minitrain.write_text(f'#!/bin/sh\nexec {sys.executable} -m minitrain "$@"\n')
    minitrain.chmod(0o755)


def srun(*command: str) -> int:
    tasks = int(os.environ["SLURM_NTASKS"])
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NODELIST": "localhost"}
    step["SLURM_STEP_TASKS_PER_NODE"] = str(tasks)
    ranks = [
        subprocess.Popen(command, env={**os.environ, **step, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
        for rank in range(tasks)
    ]

    def hand_on(number: int, frame: object) -> None:
        for rank in ranks:
            rank.send_signal(number)

    signal.signal(signal.SIGTERM, hand_on)
    codes = [rank.wait() for rank in ranks]
    return max(code if code >= 0 else 128 - code for code in codes)


def scontrol(*arguments: str) -> int:
    with open(os.environ["REQUEUED"], "a") as file:
        print(*arguments, file=file)
    return 0


if __name__ == "__main__":
    sys.exit({"srun": srun, "scontrol": scontrol}[sys.argv[1]](*sys.argv[2:]))
