"""Launchers: each runs the jobs of a sweep with another engine.

Joblib, submitit and Ray are called directly, by their public interfaces. A launcher is a class as `Launcher` says, in a
file of its own, with a line here. Engines are imported when a launcher is made; none is needed before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....settings.declared import arguments, look_up, settings_of
from ..jobs import Launcher
from .local import SubmititLocal
from .processes import Processes
from .ray_tasks import RayTasks
from .serial import Serial
from .slurm import Slurm

LAUNCHERS: dict[str, type[Launcher]] = {
    "serial": Serial,
    "joblib": Processes,
    "slurm": Slurm,
    "ray": RayTasks,
    "submitit-local": SubmititLocal,
}


def create_launcher(name: str, values: Mapping[str, Any]) -> Launcher:
    """The launcher of a name, with settings.

    Raises:
        ConfigError: if there is none of the name, its engine is not installed, or a setting is wrong.
    """
    launcher = look_up("launcher", name, LAUNCHERS)
    made: Launcher = launcher(**arguments(f"launcher {name}", settings_of(launcher), values))
    return made
