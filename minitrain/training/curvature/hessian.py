"""Products with the Hessian of a loss: the derivative of its gradient along a vector.

The Hessian H has as many rows as there are weights. It is never built. There are two ways to ``H v``:

- Exactly, to about fourteen digits: the forward and the backward carry v along (``minitrain.ops.second``). It
  takes several times as long as a gradient, and each operation of the model needs a backward of its backward.
- By a central difference, in the time of two gradients. Its error, relative to the product, was between 1e-9 and 1e-5
  for the models in the tests. A kink within the step, such as that of a ReLU, adds its jump.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module, to_numpy
from ...data.loading.batches import map_arrays
from ...errors import MinitrainError
from ...ops.second.along import Along, carried, direction_of

STEP = 1e-4  # of the weights' length: a longer one adds curvature to the difference, a shorter one rounding
SHORT_STEP = 1e-7  # for the comparison, where a few digits will do: it crosses fewer kinks
NOISE = 1e-8  # of such a difference, where the product is zero
CLOSE = 1e-2  # a direction that was lost on the way makes an error of the order of the product itself


class HessianProducts:
    """Multiplies vectors by the Hessian of the mean loss of one batch. Works on a copy of the model in float64.

    Args:
        model: its trainable parameters are the variables.
        objective: gives the loss, see `minitrain.training.objective.Objective`; often the model itself.
        batch: on the model's device. The loss is that of an evaluation: nothing is dropped.
        exact: ``True`` for exact products, ``False`` for differences. By default the first product is tried exactly
            and compared with a difference; if the model has an operation without a backward of its backward, or does
            something else that cannot be carried along, all products are differences.

    Raises:
        NoSecondOrderError: from a product, with ``exact=True``, if the model has such an operation; it names it.

    Attributes:
        size: how many weights there are.
        exact: whether products are exact; ``None`` before the first.
        reason: why they are not, or ``""``.
    """

    def __init__(self, model: Any, objective: Any, batch: Any, *, exact: bool | None = None) -> None:
        self._model, self._objective = copy.deepcopy((model, objective))  # the objective may hold the model
        self._parameters = [parameter for parameter in self._model.parameters() if parameter.trainable]
        self._values = [parameter.data.astype(np.float64) for parameter in self._model.parameters()]
        self._batch = batch
        self._dtype: Any = None
        self.size = sum(parameter.data.size for parameter in self._parameters)
        self.exact, self.reason = exact, ""

    def __call__(self, vector: Array) -> Array:
        """The Hessian times ``vector`` (N,), in the order of the model's trainable parameters."""
        vector = np.asarray(vector, np.float64).reshape(-1)
        length = float(np.linalg.norm(vector))
        if length == 0:
            return np.zeros(self.size)
        if self.exact is None:
            self._choose(vector / length)
        return self._exactly(vector) if self.exact else self._by_difference(vector / length, STEP) * length

    def gradient(self) -> Array:
        """The gradient (N,) of the mean loss."""
        self._become(np.float64)
        self._move(np.zeros(self.size))
        return self._gradient()

    def _choose(self, direction: Array) -> None:
        """Try an exact product, and compare it with a difference."""
        try:
            found = self._exactly(direction)
        except (MinitrainError, TypeError, ValueError, np.exceptions.ComplexWarning) as error:
            self.exact, self.reason = False, str(error)
            return
        other = self._by_difference(direction, SHORT_STEP)
        self.exact = bool(np.linalg.norm(found - other) <= CLOSE * np.linalg.norm(other) + NOISE)
        if not self.exact:
            self.reason = "the model loses the direction, or its loss has kinks: an exact product is no difference"

    def _exactly(self, vector: Array) -> Array:
        self._become(np.complex128)
        self._move(carried(0.0, vector))
        with Along():
            return direction_of(self._gradient())  # type: ignore[no-any-return]

    def _by_difference(self, direction: Array, step: float) -> Array:
        self._become(np.float64)
        step *= max(1.0, float(np.sqrt(sum((to_numpy(x) ** 2).sum() for x in self._values))))
        ends = []
        for sign in (1, -1):
            self._move(sign * step * direction)
            ends.append(self._gradient())
        return (ends[0] - ends[1]) / (2 * step)

    def _become(self, dtype: Any) -> None:
        """Give weights, gradients and the batch's numbers a dtype."""
        if self._dtype == dtype:
            return
        for parameter in self._model.parameters():
            parameter.data = array_module(parameter.data).zeros(parameter.data.shape, dtype)
            parameter.rebind(parameter.data, None)  # a gradient of this dtype is made when it is needed
        self._dtype = dtype
        self._numbers = map_arrays(self._batch, lambda x: x.astype(dtype) if x.dtype.kind == "f" else x)

    def _move(self, offset: Array) -> None:
        """Set the weights to their values plus ``offset`` (N,), real or imaginary."""
        start = 0
        for parameter, value in zip(self._model.parameters(), self._values, strict=True):
            if not parameter.trainable:
                parameter.data[...] = value
                continue
            part = offset[start : start + value.size].reshape(value.shape)
            parameter.data[...] = value + array_module(value).asarray(part)
            start += value.size

    def _gradient(self) -> Array:
        """The gradient (N,) of the mean loss at the weights as they are."""
        for parameter in self._model.parameters():
            parameter.zero_grad()
        loss, cache = self._objective.loss(self._numbers)
        self._objective.loss_backward(cache)
        parts = [to_numpy(parameter.read_grad()).reshape(-1) for parameter in self._parameters]
        return np.concatenate(parts) / float(loss.count)
