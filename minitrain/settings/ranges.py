"""The values that a number or a word may have, and how to say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Limits(Protocol):
    """Anything that says which values are allowed: a `Range`, or a range of `minitrain.optim`."""

    @property
    def rule(self) -> str:
        """The limits in words, to follow "must be"; empty if there are none."""

    @property
    def holds(self) -> Callable[[Any], bool]:
        """Whether a value of the right type is allowed."""


class Range(NamedTuple):
    """The values that a setting may have: an interval of numbers, or one of a few words.

    Attributes:
        at_least: the lowest value.
        at_most: the highest value.
        above: a bound below that does not belong to the range.
        below: a bound above that does not belong to it.
        one_of: the words.
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    one_of: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The range in words, to follow "must be"; empty if there is no limit."""
        if self.one_of:
            return f"one of {', '.join(self.one_of)}"
        if self.at_least is not None and self.at_most is not None:
            return f"between {self.at_least} and {self.at_most}"
        if self.above is not None and self.below is not None:
            return f"between {self.above} and {self.below}, both excluded"
        bounds = {
            "at least": self.at_least,
            "at most": self.at_most,
            "above": self.above,
            "below": self.below,
        }
        return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)

    def holds(self, value: Any) -> bool:
        """Whether ``value``, which has the right type, lies in the range."""
        if self.one_of:
            return value in self.one_of
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


ANY = Range()
"""No limit."""
