"""How closely a gradient is checked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import ConfigError
from ..random import checked_seed


@dataclass(frozen=True)
class CheckSettings:
    """How closely a gradient is checked.

    Attributes:
        seed: seeds the random cotangents and directions, from 0 to 2**64 - 1. The same seed gives the same check.
        directions: the number of random directions to check for each argument.
        step: the first step tried: an element x moves by ``step * max(1, |x|)``. Where that gives no reliable
            derivative, shorter and longer steps are tried.
        tolerance: the largest relative error that passes.
        elementwise: arrays of at most this many elements are also checked element by element.
        explained: an array of at most this many elements is differentiated completely for the report when it fails.
            In a larger one, the checker searches for a wrong element.
        no_gradient: names of floating-point arguments that deliberately have no gradient.
        precision: ``"float64"``, or ``"float32"`` for code that exists in float32 only. Finite differences then have
            three digits: use ``SINGLE`` of this module, which has a tolerance and a step that fit.
    """

    seed: int = 0
    directions: int = 2
    step: float = 1e-4
    tolerance: float = 1e-6
    elementwise: int = 32
    explained: int = 2000
    no_gradient: Collection[str] = ()
    precision: str = "float64"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))  # frozen
        if self.precision not in ("float64", "float32"):
            raise ConfigError(f"CheckSettings: precision={self.precision!r}: use 'float64' or 'float32'")


DEFAULT = CheckSettings()
SINGLE = CheckSettings(precision="float32", step=1e-2, tolerance=2e-3)
"""For code that exists in float32 only."""
