"""Batches one after the other, with a position that can be saved.

`BatchIterator` is the protocol. `Batches` makes a stream of a `Loader`, for a loop of your own; its position is the
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
    """Batches in one order, and where in it the next one is."""

    def __iter__(self) -> Iterator[Any]:
        """The stream itself."""
        ...

    def __next__(self) -> Any:
        """The next batch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch given: a few plain values that JSON can hold."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position saved before."""
        ...


class Batches:
    """The batches of a loader, step after step, without end.

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
        """Begin with ``step``."""
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
        """Go on with the step of ``state``.

        Raises:
            DataError: if it is not such a state.
        """
        match state:
            case {"step": step} if Whole().problem(step) is None:
                self.step = step
            case _:
                raise DataError(f"the position of batches is {{'step': 0}} or a later step, not {state!r:.60}")
