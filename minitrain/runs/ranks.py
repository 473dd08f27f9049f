"""A run on several ranks: the same settings and versions on all, and the same weights at the beginning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..backend.arrays import device_of, to_device, to_numpy
from ..distributed.agreement import refuse_differences
from ..distributed.group import Group
from ..errors import ConfigError
from ..records.facts import flat
from ..versions import versions
from .config import RunConfig

SAME_COMMAND = "start all ranks with the same command, in equal environments"


def settings_for(group: Group, config: RunConfig) -> RunConfig:
    """The settings of a run on several ranks, which all have.

    Gradients are added in a tree, which the run keeps: continued in one process, it still has the same bytes.

    Raises:
        ConfigError: if the ranks differ, or the settings do not go with several ranks.
    """
    facts: dict[str, Any] = {**versions(), **flat(config.to_dict())}
    refuse_differences(group, {name: str(value) for name, value in facts.items()}, SAME_COMMAND)
    if config.trainer.gradient_sum == "in_place":
        raise ConfigError("trainer.gradient_sum=in_place is for one process: several ranks add in a tree")
    return replace(config, trainer=replace(config.trainer, gradient_sum="tree"))


def refuse_ranks_alone(config: RunConfig) -> None:
    """Refuse to train in one process what is to be trained by several.

    Raises:
        ConfigError: if the settings ask for more than one rank.
    """
    if config.ranks > 1:
        raise ConfigError(
            f"ranks={config.ranks} are started by `minitrain train` on the command line; in Python, call start_run or "
            "resume_run on each rank, with its group=..."
        )


def share_weights(group: Group, model: Any) -> None:
    """Give all ranks the weights of rank 0."""
    state = model.state_dict()
    for array in state.values():
        flat_array = np.ascontiguousarray(to_numpy(array)).reshape(-1)
        group.broadcast(flat_array)
        array[...] = to_device(flat_array.reshape(array.shape), device_of(array))
