"""How closely a gradient is checked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..random import checked_seed


@dataclass(frozen=True)
class CheckSettings:
    """How closely a gradient is checked.

    Attributes:
        seed: of the random cotangents and directions, from 0 to 2**64 - 1. The same seed gives the same check.
        directions: random directions to differentiate along, for each argument.
        step: relative length of a finite difference; an element x moves by ``step * max(1, |x|)``. A function
            with kinks (relu, max, abs) wants a shorter one, such as 1e-6, which crosses fewer of them.
        tolerance: largest relative error that passes.
        elementwise: arrays of at most this many elements are also checked element by element.
        explained: when an array of at most this many elements fails, all of it is differentiated for the
            report; in a larger one, a bad element is searched for.
        no_gradient: names of floating-point arguments that have no gradient on purpose.
    """

    seed: int = 0
    directions: int = 2
    step: float = 1e-4
    tolerance: float = 1e-6
    elementwise: int = 32
    explained: int = 2000
    no_gradient: Collection[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))  # frozen
