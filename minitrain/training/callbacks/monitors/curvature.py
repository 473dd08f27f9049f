"""The sharpness of a loss as a metric: the largest eigenvalue of its Hessian.

A step of gradient descent at the rate r is stable along a direction while r times the curvature is below 2. Training at
a constant rate often drives the largest curvature up to just that: the edge of stability (Cohen et al., Gradient
descent on neural networks typically occurs at the edge of stability, 2021, arXiv:2103.00065).
"""

from __future__ import annotations

from typing import Any

from ....errors import ConfigError
from ...curvature.hessian import HessianProducts
from ...curvature.largest import sharpness
from ...feed import batch_to
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback


class Sharpness(Callback):
    """Adds the largest curvature of the loss to the records, as ``sharpness``, and 2 over it as ``stable_lr``.

    Plain gradient descent on this batch is stable up to the rate ``stable_lr``. Each measurement takes about 20 to 60
    times the time of a gradient in float64, on a copy of the model, so this is for small models.

    Args:
        batch: the batch to measure on; by default the first batch of the validation data.
        every: steps between two measurements; records between them have none.
        tolerance: relative error of the eigenvalue.
    """

    def __init__(self, batch: Any = None, *, every: int = 100, tolerance: float = 1e-2) -> None:
        if every < 1 or not 0 < tolerance < 1:
            raise ConfigError(f"Sharpness: every={every} must be at least 1, tolerance={tolerance} between 0 and 1")
        self.batch, self.every, self.tolerance = batch, every, tolerance
        self._setup: Setup | None = None

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Choose the batch.

        Raises:
            ConfigError: if there is neither a batch nor validation data.
        """
        self._setup = setup
        if self.batch is None:
            if run.evaluator is None:
                raise ConfigError("Sharpness needs a batch: give it one, or the trainer val_data")
            self.batch = next(iter(run.evaluator.data))

    def on_step_end(self, view: StepView, update: Update) -> None:
        """Ask for a record, if it is time to measure."""
        if view.step % self.every == 0:
            view.control.log = True

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Measure and add."""
        if view.step % self.every:
            return
        setup = self._setup
        assert setup is not None  # since training has begun
        products = HessianProducts(setup.model, setup.objective, batch_to(self.batch, setup.device))
        found = record["sharpness"] = sharpness(products, tolerance=self.tolerance)
        if found > 0:
            record["stable_lr"] = 2 / found
