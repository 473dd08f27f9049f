"""Second derivatives of a loss: products with its Hessian, and its largest eigenvalue, the sharpness.

A step of gradient descent at the rate r is stable along a direction while r times the curvature is below 2. Training at
a constant rate often drives the largest curvature up to just that: the edge of stability (Cohen et al., Gradient
descent on neural networks typically occurs at the edge of stability, 2021, arXiv:2103.00065).

The Hessian H has as many rows as there are weights. It is never built: ``H v`` is the derivative of the gradient along
v (Pearlmutter, Fast exact multiplication by the Hessian, 1994), here by a central difference of two gradients in
float64.
Lanczos's method finds the largest eigenvalue from a few such products.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ....backend.arrays import Array, array_module, to_numpy
from ....data.loading.batches import map_arrays
from ....errors import ConfigError
from ...feed import batch_to
from ...setup import RunContext, Setup, StepView
from ...state import Update
from ..base import Callback

STEP = 1e-4  # of the weights' length: the difference of gradients has an error of about 1e-8


class HessianProducts:
    """Multiplies vectors by the Hessian of the mean loss of one batch. Works on a copy of the model in float64.

    Args:
        model: its trainable parameters are the variables.
        objective: gives the loss, see `minitrain.training.objective.Objective`; often the model itself.
        batch: on the model's device. The loss is that of an evaluation: nothing is dropped.
    """

    def __init__(self, model: Any, objective: Any, batch: Any) -> None:
        self._model, self._objective = copy.deepcopy((model, objective))  # the objective may hold the model
        for parameter in self._model.parameters():
            xp, data = array_module(parameter.data), parameter.data.astype(np.float64)
            parameter.rebind(xp.empty(data.shape, np.float64), xp.empty(data.shape, np.float64))
            parameter.data[...] = data
        self._parameters = [parameter for parameter in self._model.parameters() if parameter.trainable]
        self._batch = map_arrays(batch, lambda x: x.astype(np.float64) if x.dtype.kind == "f" else x)
        self._at = [parameter.data.copy() for parameter in self._parameters]
        self.size = sum(parameter.data.size for parameter in self._parameters)
        """How many weights there are."""

    def __call__(self, vector: Array) -> Array:
        """The Hessian times ``vector`` (N,), in the order of the model's trainable parameters."""
        vector = np.asarray(vector, np.float64).reshape(-1)
        length = float(np.linalg.norm(vector))
        if length == 0:
            return np.zeros(self.size)
        scale = max(1.0, float(np.sqrt(sum((to_numpy(x) ** 2).sum() for x in self._at))))
        step = STEP * scale / length
        try:
            ahead, behind = self._gradient(step * vector), self._gradient(-step * vector)
        finally:
            self._move(np.zeros(self.size))
        return (ahead - behind) / (2 * step)

    def _gradient(self, offset: Array) -> Array:
        """The gradient (N,) of the mean loss, with the weights moved by ``offset`` (N,)."""
        self._move(offset)
        for parameter in self._model.parameters():
            parameter.zero_grad()
        loss, cache = self._objective.loss(self._batch)
        self._objective.loss_backward(cache)
        return np.concatenate([to_numpy(p.read_grad()).reshape(-1) for p in self._parameters]) / float(loss.count)

    def _move(self, offset: Array) -> None:
        start = 0
        for parameter, at in zip(self._parameters, self._at, strict=True):
            part = offset[start : start + at.size].reshape(at.shape)
            parameter.data[...] = at + array_module(at).asarray(part)
            start += at.size


def sharpness(products: HessianProducts, *, tolerance: float = 1e-3, seed: int = 0) -> float:
    """The largest eigenvalue of the Hessian, by Lanczos's method.

    Args:
        products: multiplies by the Hessian.
        tolerance: relative error of the eigenvalue.
        seed: of the first vector.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = products.size
    if size < 3:  # too few for Lanczos
        rows = np.stack([products(row) for row in np.eye(size)])
        return float(np.linalg.eigvalsh((rows + rows.T) / 2)[-1])
    operator = LinearOperator((size, size), matvec=products, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    values = eigsh(operator, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)
    return float(values[0])


class Sharpness(Callback):
    """Adds the largest curvature of the loss to the records, as ``sharpness``, and 2 over it as ``stable_lr``.

    Plain gradient descent on this batch is stable up to the rate ``stable_lr``. Each measurement takes about 20 to 60
    times the time of a gradient in float64, on a copy of the model, so this is for small models.

    Args:
        batch: what to measure on; by default the first batch of the validation data.
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
