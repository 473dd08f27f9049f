"""Streams of batches with a position that can be saved.

`BatchIterator` is the protocol. `Batches` turns a `Loader` into a stream, for a loop of your own; its position is the
number of the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np  # noqa: F401  # for the example

from ...errors import DataError
from ...states import Whole
from .batches import Loader


class BatchIterator(Protocol):
    """A sequence of batches with a position."""

    def __iter__(self) -> Iterator[Any]:
        """The stream itself."""
        ...

    def __next__(self) -> Any:
        """The next batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch: a few plain values that JSON can hold."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved position."""
        ...


class Batches:
    """The endless batches of a loader, step by step.

    Examples:
        >>> from minitrain.data import TokenLoader
        >>> batches = Batches(TokenLoader(np.arange(100), 4, 2, seed=0))
        >>> first, second = next(batches), next(batches)
        >>> again = Batches(batches.loader)
        >>> again.load_state_dict({"step": 1})
        >>> bool((next(again).inputs == second.inputs).all())
        True
    """

    def __init__(self, loader: Loader, step: int = 0) -> None:
        """Start at ``step``."""
        self.loader, self.step = loader, step

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        batch = self.loader.batch(self.step)
        self.step += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """``{"step": …}``, the number of the next step."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the step in ``state``.

        Raises:
            DataError: if it is not such a state.
        """
        match state:
            case {"step": step} if Whole().problem(step) is None:
                self.step = step
            case _:
                raise DataError(f"the position of batches is {{'step': 0}} or a later step, not {state!r:.60}")
