"""The settings of a run as its task sees them."""

from __future__ import annotations

from typing import Any, Protocol

from ...training.config import TrainingConfig
from .generation import GenerationConfig


class TaskSettings(Protocol):
    """The settings of a run that a task reads; a `RunConfig` has them."""

    @property
    def seed(self) -> int:
        """Seed of the initial weights and the order of the data."""

    @property
    def device(self) -> str:
        """Where to compute."""

    @property
    def model(self) -> Any:
        """The section of the model."""

    @property
    def data(self) -> Any:
        """The section of the data."""

    @property
    def trainer(self) -> TrainingConfig:
        """How long to train, in which batches."""

    @property
    def optimizer(self) -> Any:
        """The section of the optimizer."""

    @property
    def loss(self) -> Any:
        """The loss and its settings; ``None`` for the model's own."""

    @property
    def adapter(self) -> Any:
        """Which adapters are trained, if any."""

    @property
    def generation(self) -> GenerationConfig:
        """How a sample is written."""
