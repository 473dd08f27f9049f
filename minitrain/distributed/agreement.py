"""Before a training begins, its ranks make sure that they are of one kind: same versions, same settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .group import Group

_MISSING = "not set"


def refuse_differences(group: Group, facts: Mapping[str, Any], what: str) -> None:
    """Make sure that all ranks have the same facts.

    Args:
        group: the ranks.
        facts: values by name, as JSON can hold them.
        what: where they come from, to end the message: what to do about a difference.

    Raises:
        ConfigError: on every rank, naming the first difference.
    """
    every = group.gather(dict(facts))
    for rank, other in enumerate(every):
        for name in [*every[0], *other]:
            mine, its = every[0].get(name, _MISSING), other.get(name, _MISSING)
            if mine != its:
                raise ConfigError(f"rank {rank} has {name}={its} and rank 0 has {name}={mine}: {what}")
