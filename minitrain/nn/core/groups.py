"""Groups of parameters with a weight decay or learning rate of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError

Match = str | Callable[[str, Any], bool]
"""Some parameters of a model: a pattern for their paths (``"blocks.*.weight"``, as file names are matched; ``*``
reaches over dots), or a function of path and parameter."""


@dataclass(frozen=True)
class ParamGroup:
    """Settings of an optimizer for some of the parameters.

    Attributes:
        match: which parameters: a pattern of paths, or a function of path and parameter.
        weight_decay: decay of every parameter that matches, biases and norms too; ``None`` keeps the optimizer's decay,
            which applies to matrices and tables only.
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
"""The group of every parameter that is in no other group."""
