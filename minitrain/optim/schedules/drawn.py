"""The base of all schedules: a function of the step that can draw itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar


class Drawn(ABC):
    """A function of the step that can draw itself.

    Attributes:
        run_parts: lengths that a configuration may leave out, each as a part of the steps of the run that follow the
            warm-up.
        rises: whether it starts with a rise of its own, so that a configuration has no warm-up before it.
    """

    run_parts: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    rises: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The rate of update number ``step``, counted from 0."""

    def plot(self, total_steps: int, path: str | Path = "learning_rate.png", *, title: str = "Learning rate") -> None:
        """Draw the rate of each update of a run; `plot_schedule` draws several in one plot.

        Args:
            total_steps: number of updates.
            path: the PNG to write.
            title: the title of the plot.

        Raises:
            ConfigError: if there is no step to draw.
            FileError: if the file cannot be written.
        """
        from .plot import plot_schedule

        plot_schedule(self, total_steps, path, title=title)
