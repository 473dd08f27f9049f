"""The reach of the settings in a run folder: the folder itself, and nothing else, unless the folder is trusted.

A ``config.yaml`` may come from anybody. Its callbacks may name files, its trainer a URL for checkpoints, and a tracker
sends what it sees to a service under the user's own account. All of this is allowed to the person who typed it, for a
new run, or who says so with ``--trust``.

Token shards are the exception: they may be large and stay where they are. They are only read, and only if the folder
holds the same manifest, with the sums of all their bytes, so a stranger's folder learns nothing from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from ..errors import ConfigError
from ..files import FileError
from ..folder import RunFolder
from ..folder.safe import refuse_url
from ..training.callbacks.registry import CALLBACKS, callback_settings
from .config import RunConfig

SERVICES = ("mlflow", "wandb")
"""Callbacks that send to a service; Weights & Biases need not."""


def refuse_remote_checkpoints(config: RunConfig, folder: RunFolder) -> None:
    """Refuse checkpoints that are elsewhere, unless the folder is trusted.

    Raises:
        ConfigError: if the settings name a URL for them.
    """
    if config.trainer.checkpoint_url is not None and not folder.trusted:
        refuse_url(config.trainer.checkpoint_url, "trainer.checkpoint_url")


def confined_callbacks(config: RunConfig, folder: RunFolder) -> list[Mapping[str, Any] | str]:
    """The settings of a run's callbacks, with paths in the run folder; a relative path counts from there.

    Raises:
        FileError: if a path leads out of a folder that is not trusted.
        ConfigError: if a tracker would send to a service, and the folder is not trusted.
    """
    return [_confined(one, folder) for one in config.callbacks]


def refuse_what_leads_out(config: RunConfig, folder: RunFolder) -> None:
    """Refuse settings that lead out of their folder, unless it is trusted.

    Raises:
        FileError: if a path does.
        ConfigError: if a URL or a service does.
    """
    refuse_remote_checkpoints(config, folder)
    confined_callbacks(config, folder)


def needs_trust(config: RunConfig, folder: Path) -> bool:
    """Whether the settings lead out of their folder, so that a resumed run has to be trusted."""
    try:
        refuse_what_leads_out(config, RunFolder(folder))
    except (ConfigError, FileError):
        return True
    return False


def _confined(callback: Mapping[str, Any] | str, folder: RunFolder) -> Mapping[str, Any] | str:
    values: Mapping[str, Any] = {"name": callback} if isinstance(callback, str) else callback
    name = values["name"]
    stays = name not in SERVICES or values.get("mode") in ("offline", "disabled")
    if not (stays or folder.trusted):
        refuse_url(values.get("tracking_uri") or name, f"callbacks: {name}")
    if name not in CALLBACKS:
        return callback
    paths = {key for key, setting in callback_settings(name).items() if Path in get_args(setting.hint)}
    return {
        key: str(folder.place(value)) if key in paths and value is not None else value for key, value in values.items()
    }
