"""How many cores this process may use: limits of containers, its affinity, and other processes of its job.

Four things can leave a process fewer cores than the machine has. Its affinity, set by ``taskset``, a batch system or
MPI, names the cores it may run on. A control group (Linux, version 1 or 2) can limit the cores (cpuset) and the CPU
time per period (quota) of a container; the limits of all enclosing groups apply too. And a launcher may have started
several processes of one job on this machine, which share its cores.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

# Launchers set these to the number of processes of the job on this machine.
_LOCAL_SIZES = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",  # Open MPI
    "MPI_LOCALNRANKS",  # MPICH, Intel MPI
    "MV2_COMM_WORLD_LOCAL_SIZE",  # MVAPICH2
    "PMI_LOCAL_SIZE",  # Cray
    "LOCAL_WORLD_SIZE",  # torchrun
)


class Cores(NamedTuple):
    """How many cores to use, and why."""

    number: int
    reason: str


def usable_cores() -> Cores:
    """The cores for this process: the lowest of all limits, at least 1.

    A process of a job takes its share of the machine's cores and of the quota. Cores that its launcher bound it to are
    its share already, and are not divided again.
    """
    total, ranks = machine_cores(), local_processes(os.environ)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    share = f", shared by {ranks} processes of one job" if ranks > 1 else ""
    limits = [Cores(total // ranks, f"{total} cores{share}" if share else "all cores")]
    if affinity < total:
        limits.append(Cores(affinity, f"bound to {affinity} of {total} cores"))
    if (quota := cgroup_quota()) is not None:
        limits.append(Cores(math.floor(quota / ranks), f"CPU quota {quota:g}{share}"))
    fewest = min(limits, key=lambda limit: limit.number)
    return fewest._replace(number=max(1, fewest.number))


def machine_cores(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Cores of the machine, or of the container (cpuset). All processes in it share them."""
    for group in _groups("cpuset", root, membership):
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):  # version 2, then 1
            if cores := _listed(group / name):
                return cores
    return os.cpu_count() or 1


def cgroup_quota(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """CPUs that Linux control groups grant: the lowest limit of the process's group and those above, or ``None``."""
    quotas = (_quota(group) for group in _groups("cpu", root, membership))
    return min((quota for quota in quotas if quota is not None), default=None)


def local_processes(environment: Mapping[str, str]) -> int:
    """How many processes of this job run on this machine, according to its launcher; 1 if unknown."""
    counts = [environment.get(name, "") for name in _LOCAL_SIZES]
    # srun: the tasks of a step on each node, such as "4(x2),3"; absent in a batch script, which is one process
    for count, repeat in re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [count] * int(repeat or 1)
    return max([int(text) for text in counts if text.isdecimal()], default=1) or 1


def _groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """Folders of the groups of this process for ``controller``, from its own up to the visible root.

    A container may see its own group as the root while its membership names the path outside. So some folders may not
    exist; the caller skips them.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:  # number:controllers:path; version 2 names no controllers
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            mount = root / controllers
            inside = [part for part in path.split("/") if part]
            for depth in range(len(inside) if ".." not in inside else 0, 0, -1):
                yield mount.joinpath(*inside[:depth])
            yield mount
    yield root
    yield root / controller


def _quota(group: Path) -> float | None:
    """CPU time per period of one group, or ``None`` without a limit."""
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):  # version 2, then 1
        try:
            limit, period = " ".join((group / name).read_text() for name in files).split()
            return int(limit) / int(period) if limit not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None


def _listed(file: Path) -> int:
    """How many cores a list such as ``0-3,8`` names; 0 if there is no such file."""
    try:
        spans = re.findall(r"(\d+)(?:-(\d+))?", file.read_text())
    except OSError:
        return 0
    return sum(int(last or first) - int(first) + 1 for first, last in spans)
