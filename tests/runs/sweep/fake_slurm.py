"""The programs of Slurm that submitit calls, on this machine: enough to see what is submitted, stopped and requeued.

Like Slurm, ``scancel`` signals every process of a job, and ``sbatch`` runs a script in a session of its own.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ.get("FAKE_SLURM", "."))


def install(folder: Path) -> None:
    """Put the programs into a folder for ``PATH``."""
    folder.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        program.chmod(0o755)


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    (STATE / "script").write_text(text)
    array = re.search(r"--array=0-(\d+)", text)
    for index in range(int(array[1]) + 1) if array else [None]:
        start("77" if index is None else f"77_{index}")
    print("Submitted batch job 77")


def start(job: str) -> None:
    main, _, index = job.partition("_")
    variables = {"SLURM_JOB_ID": job if not index else str(int(main) + 1 + int(index)), "SLURM_PROCID": "0"}
    variables |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    variables |= {"SLURM_ARRAY_JOB_ID": main, "SLURM_ARRAY_TASK_ID": index} if index else {}
    process = subprocess.Popen(
        ["bash", str(STATE / "script")],
        env={**os.environ, **variables, "FAKE_JOB": job},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=(STATE / f"{job}.err").open("a"),
    )
    (STATE / f"{job}.pid").write_text(str(process.pid))


def srun(*arguments: str) -> None:
    first = next(i for i, one in enumerate(arguments) if "python" in one)
    os.execvp(arguments[first], arguments[first:])


def sacct(*arguments: str) -> None:
    print("JobID|State|NodeList")
    for path in sorted(STATE.glob("*.pid")):
        print(f"{path.stem}|{'RUNNING' if members(path.stem) else 'COMPLETED'}|here")


def scancel(job: str, *rest: str) -> None:
    for process in members(job):
        os.kill(process, signal.SIGTERM)


def scontrol(action: str, job: str) -> None:
    with (STATE / "requeued").open("a") as file:
        file.write(f"{os.environ['FAKE_JOB']}\n")
    start(os.environ["FAKE_JOB"])


def members(job: str) -> list[int]:
    """Processes of a job, whatever session they are in: they all have its variable."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FAKE_JOB={job}".encode() in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
