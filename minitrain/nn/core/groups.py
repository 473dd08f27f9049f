"""Groups of parameters: which ones have a weight decay or a rate of their own, and which ones stand still."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ...errors import ConfigError, MinitrainError, nearest

if TYPE_CHECKING:
    from .module import Module
    from .parameter import Parameter

Match = str | Callable[[str, "Parameter"], bool]
"""Some parameters of a model: a pattern for their paths (``"blocks.*.weight"``, as file names are matched; ``*``
reaches over dots), or a function of path and parameter."""


@dataclass(frozen=True)
class ParamGroup:
    """What an optimizer does differently with some of the parameters.

    Attributes:
        match: which parameters: a pattern of paths, or a function of path and parameter.
        weight_decay: decay of all that match, biases and norms too; ``None`` keeps the optimizer's own decay, which
            reaches matrices and tables alone.
        lr_scale: factor of the learning rate.

    Raises:
        ConfigError: if a number is negative, infinite or NaN.
    """

    match: Match
    weight_decay: float | None = None
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("weight_decay", self.weight_decay), ("lr_scale", self.lr_scale)):
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"ParamGroup({self.match!r}): {name} = {value} must be 0 or more")


EVERYTHING = ParamGroup("*")
"""The group of every parameter that no other group has taken."""


def matches(match: Match, path: str, parameter: Parameter) -> bool:
    """Whether ``match`` means this parameter."""
    return fnmatchcase(path, match) if isinstance(match, str) else match(path, parameter)


def matching(model: Module, match: Match) -> dict[str, Parameter]:
    """The parameters of ``model`` that ``match`` means, by path.

    Raises:
        ConfigError: if there is none; a pattern's message names the nearest path.
    """
    parameters = dict(model.named_parameters())
    found = {path: parameter for path, parameter in parameters.items() if matches(match, path, parameter)}
    if not found:
        near = nearest(match, parameters, cutoff=0.3) if isinstance(match, str) else None
        hint = f"; the nearest path is {near}" if near else ""
        raise ConfigError(f"{match!r} matches no parameter{hint}; dict(model.named_parameters()) has all paths")
    return found


def assign_groups(model: Module, *groups: ParamGroup) -> None:
    """Put the parameters of ``model`` into groups; ``pack`` and the optimizers made afterwards follow them.

    The first group that matches a parameter has it. What no group matches is treated as always.

    Args:
        model: not packed yet.
        groups: the groups, the most particular first.

    Raises:
        ConfigError: if a group matches nothing, or nothing that the groups before it have left.
        MinitrainError: if the model is packed.
    """
    _refuse_packed(model, "assign groups")
    taken: dict[str, ParamGroup] = {}
    for group in groups:
        left = {path: group for path in matching(model, group.match) if path not in taken}
        if not left:
            raise ConfigError(
                f"ParamGroup({group.match!r}) is left without a parameter: the groups before it match all of its own; "
                "put the more particular group first"
            )
        taken |= left
    for path, parameter in model.named_parameters():
        parameter.group = taken.get(path, EVERYTHING)


def freeze(model: Module, match: Match = "*") -> list[str]:
    """Stop training some parameters: backward passes skip their gradients, optimizers leave them alone.

    Set ``parameter.trainable = True`` to free one again.

    Args:
        model: not packed yet.
        match: which parameters; all by default.

    Returns:
        The paths of all that match.

    Raises:
        ConfigError: if nothing matches.
        MinitrainError: if the model is packed.
    """
    _refuse_packed(model, "freeze")
    found = matching(model, match)
    for parameter in found.values():
        parameter.trainable = False
    return list(found)


def _refuse_packed(model: Module, what: str) -> None:
    if getattr(model, "flat", None):
        raise MinitrainError(f"the model is packed already: {what} before pack(model)")
