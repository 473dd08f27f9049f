"""A training step on a GPU with one launch for forward, backward and clipping.

A step of a small model has hundreds of kernels, and the GPU is done with each before the host has launched the next. So
everything up to the factor that clips the gradient is captured in a graph (`minitrain.backend.cuda.graphs`). The update
follows as before: a few launches if the model is packed, with the learning rate and the number of the step, which are
numbers of the host and change.

The result has the bytes of `train_step` with ``wait=False``. A model that drops something cannot be captured: its
random key is a number of the host, and the graph would drop the same elements in each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backend.arrays import Array, is_cupy
from ...backend.cuda.graphs import GraphedStep
from ...backend.precision import check_precision, use_precision
from ...errors import ConfigError
from ...optim import clip_without_waiting
from ...random import Key
from ..nonfinite import as_double, check_total
from ..state import Update


class GraphedTrainStep:
    """Forward, backward and update of a model on a GPU, for batches of one shape.

    Args:
        model: on a GPU; has ``loss`` and ``loss_backward``, or an ``objective`` has them. Pack it for few launches.
        optimizer: of the model.
        objective: see `train_step`.
        max_grad_norm: see `train_step`.
        precision: of the products.
        warmups: plain steps before the capture.

    Example:
        ```python
        step = GraphedTrainStep(model, AdamW(model), max_grad_norm=1.0)
        for number, batch in enumerate(batches):  # arrays on the GPU
            update = step(batch, lr=schedule(number))
        ```
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        *,
        objective: Any = None,
        max_grad_norm: float | None = None,
        precision: str = "float32",
        warmups: int = 2,
    ) -> None:
        if precision == "float16":
            raise ConfigError("GraphedTrainStep: float16 scales its loss from the host; use bfloat16")
        self.model, self.optimizer = model, optimizer
        self.objective = model if objective is None else objective
        self.max_grad_norm, self.precision = max_grad_norm, check_precision(precision)
        self._kind: Callable[..., Any] | None = None
        self._graph = GraphedStep(self._gradient, warmups=warmups, fixed=self._fixed)

    @property
    def captured(self) -> bool:
        """Whether the step is a graph by now."""
        return self._graph.captured

    def __call__(self, batch: Any, *, lr: float) -> Update:
        """One step. The numbers of the update stay on the GPU, and are overwritten by the next step.

        Args:
            batch: a named tuple of arrays on the GPU.
            lr: learning rate of this update.

        Raises:
            ShapeError: if the batch has other shapes than the first one.
            DeviceError: if the model does what cannot be captured.
        """
        if not all(map(is_cupy, batch)):
            raise ConfigError(
                "GraphedTrainStep: all arrays of a batch must be on the GPU; see minitrain.backend.to_device"
            )
        self._kind = type(batch)._make
        self.optimizer.set_lr(lr)
        total, count, norm, scale = self._graph(*batch)
        self.optimizer.step(scale)
        return Update(total, count, lr, norm)

    def _gradient(self, *arrays: Array) -> tuple[Any, Any, Any, Any]:
        """What is captured: the gradient of a batch in the model's buffers, its loss, and the factor that clips it."""
        assert self._kind is not None
        batch = self._kind(arrays)
        self.optimizer.zero_grad()
        with use_precision(self.precision):
            loss, cache = self.objective.loss(batch, key=FROZEN)
            self.objective.loss_backward(cache)
        total, count = as_double(loss.total), as_double(loss.count)
        check_total(total, count)
        clip = clip_without_waiting(self.model, self.max_grad_norm, count=count)
        return total, count, clip.norm, clip.scale

    def _fixed(self) -> list[Array]:
        """Weights and gradients, whose addresses are in the graph."""
        parameters = list(self.model.parameters())
        return [x for p in parameters for x in (p.data, p.grad_buffer()) if p.trainable]


FROZEN = Key.from_seed(0)
"""Makes the call one of training. Nothing may be drawn from it: see ``random_bits``."""
