"""The base of all schedules: a function of the step that checks its settings and can draw itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...display.markup import block, shown
from ...errors import ConfigError
from ..checks import NOT_NEGATIVE, POSITIVE, Range, check_numbers
from .picture import draw_schedule


class Drawn(ABC):
    """A function of the step that checks its settings and can draw itself.

    Attributes:
        ranges: the valid values of settings, by name. A schedule that checks more than these calls
            ``super().__post_init__()`` first.
        run_parts: default lengths for configurations, as fractions of the run's steps after the warm-up.
        rises: whether it starts with a rise of its own, so that a configuration puts no warm-up before it.
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "cycle_factor": POSITIVE,
        "cycle_steps": POSITIVE,
        "decay_steps": POSITIVE,
        "end_factor": POSITIVE,
        "end_lr": NOT_NEGATIVE,
        "gamma": NOT_NEGATIVE,
        "lr": NOT_NEGATIVE,
        "max_lr": NOT_NEGATIVE,
        "min_lr": NOT_NEGATIVE,
        "power": POSITIVE,
        "start_factor": POSITIVE,
        "step_size": POSITIVE,
        "total_steps": POSITIVE,
        "warmup_steps": NOT_NEGATIVE,
    }
    run_parts: ClassVar[Mapping[str, float | tuple[float, ...]]] = {}
    rises: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: if one is out of range.
        """
        for name, valid in self.ranges.items():
            if hasattr(self, name):
                valid.check(type(self).__name__, **{name: getattr(self, name)})

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The rate of update number ``step``, counted from 0."""

    def plot(self, total_steps: int, path: str | Path = "learning_rate.png", *, title: str = "Learning rate") -> None:
        """Draw the rate of each update of a run as a PNG, see `plot_schedule`, which draws several in one plot."""
        from .plot import plot_schedule

        plot_schedule(self, total_steps, path, title=title)

    @shown
    def _repr_html_(self) -> str:
        return block(draw_schedule(self))


@dataclass(frozen=True)
class Falling(Drawn):
    """A schedule that falls from one rate to another.

    Attributes:
        max_lr: the highest rate.
        min_lr: the lowest rate.
    """

    max_lr: float
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings, and that the rates are in order."""
        check_numbers("the schedule", min_lr=self.min_lr, max_lr=self.max_lr)
        if not 0 <= self.min_lr <= self.max_lr:
            raise ConfigError(f"min_lr = {self.min_lr} must lie between 0 and the learning rate {self.max_lr}")
        super().__post_init__()
