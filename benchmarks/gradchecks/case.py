"""A case for the checkers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Pair = tuple[Callable[..., Any], Callable[..., Any]]


class Case(NamedTuple):
    """A forward and a backward for all three checkers."""

    name: str
    group: str
    make: Callable[[], Pair]
    """A new pair each time: some remember what happened."""
    inputs: tuple[Any, ...]
    letters: str = ""
    """Shapes that minitrain's ``check_drawn`` draws; the others get ``inputs`` alone, which is all that they take."""
    half: str = ""
    """The 16-bit type in which the code computes."""
    jax_cannot: bool = False
    """JAX's arrays cannot be changed in place, so the mistake cannot be made there."""
    single: bool = False
    """The code exists in float32 only."""


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    """Standard normal numbers."""
    return scale * np.random.default_rng(seed).standard_normal(shape)


def always(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[[], Pair]:
    """A pair that remembers nothing."""
    return lambda: (forward, backward)
