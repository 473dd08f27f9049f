"""Which GPU a rank sees, where several ranks are on one machine."""

from __future__ import annotations

from collections.abc import Mapping

VISIBLE = "CUDA_VISIBLE_DEVICES"
_LOCAL = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
"""Variables in which launchers count the ranks of a machine."""


def local_rank(environment: Mapping[str, str]) -> int | None:
    """The number of this rank among those of its machine; ``None`` if the launcher does not say."""
    return next((int(environment[name]) for name in _LOCAL if environment.get(name, "").isdecimal()), None)


def visible_to(rank: int, environment: Mapping[str, str]) -> str:
    """The value of ``CUDA_VISIBLE_DEVICES`` for a rank, so that ``device=cuda`` is a GPU of its own.

    Where the variable lists GPUs already, ranks take them in turn. A launcher that gave each rank one is left alone.

    Args:
        rank: the number of the rank on its machine.
        environment: of the process.

    Example:
        >>> [visible_to(1, {}), *(visible_to(1, {"CUDA_VISIBLE_DEVICES": all_of_them}) for all_of_them in ("4,6", "3"))]
        ['1', '6', '3']
    """
    listed = [one for one in environment.get(VISIBLE, "").split(",") if one]
    if VISIBLE in environment and not listed:
        return ""  # somebody hid all of them
    return listed[rank % len(listed)] if listed else str(rank)
