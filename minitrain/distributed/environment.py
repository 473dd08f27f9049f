"""Which rank this process is, as whoever started it says in the environment.

==================  ==============================================================  ======
started by          variables                                                       engine
==================  ==============================================================  ======
minitrain itself    ``MINITRAIN_RANK``, ``MINITRAIN_RANKS``, ``MINITRAIN_ROOT``       TCP
``mpirun``          ``OMPI_COMM_WORLD_SIZE``, ``PMI_SIZE``, ``PMIX_RANK``             MPI
``srun``            ``SLURM_PROCID``, ``SLURM_STEP_NUM_TASKS``, …                     TCP
==================  ==============================================================  ======

The variables of minitrain can be set by any launcher. ``MINITRAIN_TRANSPORT=tcp`` takes TCP under ``srun --mpi=…`` too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import ConfigError
from .tcp.meeting import Place

_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")
_PORTS = range(20000, 40000)
"""Of Slurm steps that are given no port; below those that systems hand out by themselves."""


class Seat(NamedTuple):
    """A rank's place in a group, before it is connected."""

    engine: str  # "mpi" or "tcp"
    rank: int = 0  # MPI says the rank itself
    size: int = 1
    root: Place = ("127.0.0.1", 0)
    token: str = ""


def seat(environment: Mapping[str, str]) -> Seat | None:
    """The seat of this process; ``None`` if it was started alone.

    Raises:
        ConfigError: if variables are missing or wrong.
    """
    if "MINITRAIN_RANK" in environment and "MINITRAIN_RANKS" not in environment:
        raise ConfigError("MINITRAIN_RANK is set, and MINITRAIN_RANKS is not: set both, or neither to train alone")
    if "MINITRAIN_RANKS" in environment:
        return Seat(
            "tcp",
            _number(environment, "MINITRAIN_RANK"),
            _number(environment, "MINITRAIN_RANKS"),
            _place(environment.get("MINITRAIN_ROOT", "")),
            environment.get("MINITRAIN_TOKEN", ""),
        )
    tcp_wanted = environment.get("MINITRAIN_TRANSPORT") == "tcp"
    if not tcp_wanted and any(name in environment for name in _MPI):
        return Seat("mpi")
    if "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:
        size = _number(environment, "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS")
        if size > 1:
            return _slurm_seat(environment, size)
    return None


def seconds(environment: Mapping[str, str], name: str, usual: float) -> float:
    """The variable ``name``, a time in seconds; ``usual`` if it is not set.

    Raises:
        ConfigError: if it is no finite number above 0.
    """
    if (text := environment.get(name)) is None:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}={text!r}: give a number of seconds above 0")
    return value


def first_host(nodes: str) -> str:
    """The first host of a list as Slurm writes it.

    Example:
        >>> first_host("gpu[03-05,7],login"), first_host("a1,a2")
        ('gpu03', 'a1')
    """
    found = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,]*))?", nodes)
    return "" if found is None else f"{found[1]}{found[2] or ''}{found[3] or ''}"


def _slurm_seat(environment: Mapping[str, str], size: int) -> Seat:
    job, step = environment.get("SLURM_JOB_ID", "0"), environment["SLURM_STEP_ID"]
    host = first_host(environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST", ""))
    if "MINITRAIN_ROOT" in environment:
        root = _place(environment["MINITRAIN_ROOT"])
    else:
        number = 31 * _digits(job) + _digits(step)
        root = (host or "127.0.0.1", _PORTS[number % len(_PORTS)])
    token = environment.get("MINITRAIN_TOKEN", f"slurm-{job}-{step}")
    return Seat("tcp", _number(environment, "SLURM_PROCID"), size, root, token)


def _digits(text: str) -> int:
    return int("".join(re.findall(r"\d", text)) or 0)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdecimal():
        raise ConfigError(f"{name}={text!r}: this process was started as one of several, and it must be a whole number")
    return int(text)


def _place(text: str) -> Place:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"MINITRAIN_ROOT={text!r}: say where rank 0 listens, as HOST:PORT")
    if int(port) >= 2**16:
        raise ConfigError(f"MINITRAIN_ROOT={text!r}: a port is below {2**16}")
    return host, int(port)
