"""The message about a folder that is no run: where the run may be that was meant."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .names import CONFIG, METRICS

SWEEP = "sweep.json"
"""The file that makes a folder that of a sweep."""
_SHOWN = 5  # runs that a message names


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs in ``folder``, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))


def not_a_run(folder: Path, lacks: str = CONFIG) -> CheckpointError:
    """The error for a folder that is no run.

    Args:
        folder: the folder, or what is there instead.
        lacks: the file that it does not have.
    """
    if not folder.exists():
        return CheckpointError(f"there is no run folder {folder}; check the path")
    if not folder.is_dir():
        return CheckpointError(f"{folder} is a file, not the folder of a run; check the path")
    what = f"{folder} is a sweep, not a run" if (folder / SWEEP).exists() else f"{folder} is not the folder of a run"
    if outer := [parent for parent in list(folder.parents)[:2] if (parent / CONFIG).exists()]:
        return CheckpointError(f"{what}: it belongs to the run {outer[0]}; give that folder")
    if inner := runs_in(folder):
        names = ", ".join(map(str, inner[:_SHOWN])) + (", ..." if len(inner) > _SHOWN else "")
        return CheckpointError(f"{what}; the runs in it are {names}")
    return CheckpointError(f"{what}: it has no {lacks}")


def expand(folders: list[str]) -> list[Path]:
    """The runs that are meant by folders of runs and of sweeps.

    A sweep stands for those of its runs that have begun. Files are left out, so that ``runs/*`` can be given although
    pictures lie there too.
    """
    found: list[Path] = []
    for path in map(Path, folders):
        if (path / SWEEP).exists():
            found += [run for run in runs_in(path) if (run / METRICS).exists()]
        elif not path.is_file():
            found.append(path)
    return found
