"""Choosing parameters by their paths: putting them into groups, and freezing them."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...errors import ConfigError, MinitrainError, nearest
from .groups import EVERYTHING, Match, ParamGroup
from .module import Module
from .parameter import Parameter


def matches(match: Match, path: str, parameter: Parameter) -> bool:
    """Whether this parameter matches."""
    return fnmatchcase(path, match) if isinstance(match, str) else match(path, parameter)


def matching(model: Module, match: Match) -> dict[str, Parameter]:
    """The parameters of ``model`` that match, by path.

    Raises:
        ConfigError: if there is none; the message for a pattern names the nearest path.
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

    A parameter belongs to the first group that matches it. One that matches no group is treated as usual.

    Args:
        model: not packed yet.
        groups: the groups, the most specific first.

    Raises:
        ConfigError: if a group matches nothing, or only parameters that earlier groups already have.
        MinitrainError: if the model is packed.
    """
    _refuse_packed(model, "assign groups")
    taken: dict[str, ParamGroup] = {}
    for group in groups:
        left = {path: group for path in matching(model, group.match) if path not in taken}
        if not left:
            raise ConfigError(
                f"ParamGroup({group.match!r}) has no parameters left: earlier groups match all of them; "
                "put the more specific group first"
            )
        taken |= left
    for path, parameter in model.named_parameters():
        parameter.group = taken.get(path, EVERYTHING)


def freeze(model: Module, match: Match = "*") -> list[str]:
    """Stop training some parameters: backward passes skip their gradients, optimizers do not change them.

    Set ``parameter.trainable = True`` to train one again.

    Args:
        model: not packed yet.
        match: which parameters; all by default.

    Returns:
        The paths of the parameters that match.

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
