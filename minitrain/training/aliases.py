"""Other names for the trainer's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError, nearest

ALIASES = {
    "train_dataloader": "train_data",
    "train_loader": "train_data",
    "dataset": "train_data",
    "val_dataloader": "val_data",
    "val_loader": "val_data",
    "checkpoint_dir": "run_dir",
    "schedule": "scheduler",
    "use_amp": "use_mixed_precision",
}
"""Other names of the trainer's arguments."""


def resolve_aliases(
    arguments: Mapping[str, Any], aliases: Mapping[str, Any], others: Iterable[str] = ()
) -> dict[str, Any]:
    """``arguments`` with those that were given under another name.

    Args:
        arguments: those that have other names.
        aliases: what was given under a name that is no argument's.
        others: arguments without another name, for the message.

    Raises:
        ConfigError: if a name is unknown, or the argument was given under both.
    """
    resolved = dict(arguments)
    for alias, value in aliases.items():
        name = ALIASES.get(alias, alias if alias in arguments else None)
        if name is None:
            known = [name for name in dict.fromkeys([*others, *arguments]) if name != "aliases"]
            near = nearest(alias, [*known, *ALIASES])
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"Trainer has no argument {alias}; {hint}")
        if resolved[name] is not None:
            raise ConfigError(f"Trainer was given both {name} and {alias}, which mean the same")
        resolved[name] = value
    return resolved
