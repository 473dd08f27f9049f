"""Where a measurement comes from: the machine, the versions, the commit, and the load of other programs."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from ..backend.cores import usable_cores
from ..backend.info import processor_name, version
from .turns import ROOT

PACKAGES = ("minitrain", "numpy", "numba", "scipy", "mkl", "torch")
VARIABLES = (
    *(f"{name}_NUM_THREADS" for name in ("MINITRAIN", "OMP", "OPENBLAS", "MKL", "NUMBA")),
    *("MINITRAIN_BLAS", "MINITRAIN_KERNELS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"),
    *("MINITRAIN_THREAD_POOL", "MINITRAIN_SPIN", "GOMP_SPINCOUNT"),
)


def describe() -> dict[str, Any]:
    """Date, commit, processor, system, Python and package versions, and the variables that affect measurements."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": processor_name(),
        "cores": usable_cores().number,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := version(name)) is not None},
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def commit() -> str | None:
    """The commit that is checked out, ``+changes`` if files differ; ``None`` outside the repository."""
    if not (ROOT / ".git").exists():  # an installed package: a repository around it would be another one
        return None
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def held_back() -> str | None:
    """One line if a variable makes OpenBLAS use other instructions than it would choose, else ``None``."""
    kind = os.environ.get("OPENBLAS_CORETYPE")
    if not kind:
        return None
    return (
        f"OPENBLAS_CORETYPE={kind} is set: OpenBLAS, in NumPy and in minitrain's kernels, uses only the "
        "instructions of that processor, whatever this one can do; put `env -u OPENBLAS_CORETYPE` before the command "
        "to measure without it"
    )


class OtherLoad:
    """Measures how much of the machine other programs use; timings on a busy machine are less reliable.

    The benchmark passes ``cores()`` the CPU time that its own programs used since construction.
    """

    def __init__(self) -> None:
        self._busy = _busy_seconds()
        self._began = time.perf_counter()

    def cores(self, own_seconds: float) -> float | None:
        """Cores that others kept busy, given the benchmark's own CPU seconds; ``None`` if unknown."""
        now = _busy_seconds()
        if self._busy is None or now is None:
            return None
        return max(0.0, (now - self._busy - own_seconds) / (time.perf_counter() - self._began))


def _busy_seconds() -> float | None:
    """Busy CPU time of all cores since the machine started, stolen time included."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]  # the sum of all cores
        user, nice, system, _, _, irq, softirq, steal = line.split()[1:9]
    except (OSError, ValueError):
        return None
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout.strip()
