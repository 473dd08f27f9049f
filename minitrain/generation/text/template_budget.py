"""The cost that a template from others may have when it runs: steps, characters and seconds, each counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import Any

from ...errors import DataError

STEPS, CHARACTERS, SECONDS = 100_000, 4_000_000, 10.0
"""For a template without any input; known templates need a few hundred steps for each message."""


class Budget:
    """Counts what a template does, and stops it.

    Args:
        size: characters of the input. A long chat may cost more.

    Attributes:
        steps: rounds of loops, calls, and elements of new lists that are left.
        characters: characters of new strings that are left.
    """

    def __init__(self, size: int) -> None:
        self.steps, self.characters = STEPS + 2 * size, CHARACTERS + 50 * size
        self._end = time.monotonic() + SECONDS

    def step(self, count: int = 1) -> None:
        """Count steps.

        Raises:
            DataError: if there were too many, or the time is over.
        """
        self.steps -= count
        if self.steps < 0 or time.monotonic() > self._end:
            raise DataError("the chat template goes on and on: it is damaged or hostile, and was stopped")

    def write(self, count: int) -> None:
        """Count characters, before they are written.

        Raises:
            DataError: if there were too many.
        """
        self.step(0)
        self.characters -= count
        if self.characters < 0:
            raise DataError("the chat template writes more and more text: it is damaged or hostile, and was stopped")

    def weigh(self, value: Any, *, characters: int = 0) -> None:
        """Count the elements of a list or dictionary, and of those inside it, each time they appear.

        Args:
            value: what a template has made.
            characters: how many characters to count for each one of the strings in it.

        Raises:
            DataError: if there were too many, or there is something that cannot be written as text.
        """
        if isinstance(value, str):
            self.write(characters * len(value))
        elif isinstance(value, dict):
            self.step(len(value))
            for key, inner in value.items():
                self.weigh(key, characters=characters)
                self.weigh(inner, characters=characters)
        elif isinstance(value, list | tuple):
            self.step(len(value))
            for inner in value:
                self.weigh(inner, characters=characters)
        elif characters and not isinstance(value, bool | int | float | None):
            raise DataError(f"the chat template writes a {type(value).__name__} as text: it is damaged")

    def rounds(self, values: Iterable[Any], literal: int) -> Rounds:
        """The values of a loop, counted.

        Args:
            values: what the loop goes through.
            literal: characters that each round writes without asking.
        """
        known = len(values) if isinstance(values, Sized) else 0
        self.step(known)
        items = list(values) if known else list(self._counted(values))
        self.write(literal * len(items))
        return Rounds(items, self)

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.step()
            yield value


current: ContextVar[Budget] = ContextVar("current")
"""The budget of the template that is being compiled or executed."""


class Rounds:
    """The values of a loop; each round looks at the clock."""

    def __init__(self, values: list[Any], budget: Budget) -> None:
        self._values, self._budget = values, budget

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            self._budget.step(0)
            yield value


def size_of(value: Any, name: str, depth: int = 0) -> int:
    """The characters of plain data, as JSON has it: a template must not get hold of anything else.

    Raises:
        DataError: if there is another kind of value, or the data is nested too deep.
    """
    if depth > 100:
        raise DataError(f"{name} is nested more than 100 levels deep, or contains itself")
    if isinstance(value, str):
        return len(value)
    if value is None or isinstance(value, bool | int | float):
        return 1
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return sum(len(key) + size_of(inner, name, depth + 1) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return len(value) + sum(size_of(inner, name, depth + 1) for inner in value)
    raise DataError(
        f"{name} holds a {type(value).__name__}: a chat consists of dictionaries with string keys, lists, strings, "
        "numbers, booleans and None"
    )
