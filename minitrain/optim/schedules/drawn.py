"""What can draw itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path


class Drawn(ABC):
    """A function of the step that can draw itself, as all schedules here can."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The rate of update number ``step``, counted from 0."""

    def plot(self, total_steps: int, path: str | Path = "learning_rate.png", *, title: str = "Learning rate") -> None:
        """Draw the rate of each update of a run; `plot_schedule` draws several in one picture.

        Args:
            total_steps: number of updates.
            path: the PNG to write.
            title: what stands above.

        Raises:
            ConfigError: if there is no step to draw.
            FileError: if the file cannot be written.
        """
        from .plot import plot_schedule

        plot_schedule(self, total_steps, path, title=title)
