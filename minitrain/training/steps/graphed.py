"""A training step on a GPU with one launch: forward, backward, clipping and the update.

A step of a small model has hundreds of kernels, and the GPU is done with each before the host has launched the next. So
the whole step, with all its micro-batches, is captured in a graph (`minitrain.backend.cuda.graphs`) and repeated.

A graph repeats the numbers that Python passed to kernels. Those that change are computed on the host, as in the plain
step, and written into one small array of the GPU before each replay: the two words of the step's random key
(`StepKeys`), and the numbers of the update that depend on the learning rate and on the number of the step
(`Optimizer.numbers`). So the result has the bytes of `train_step` with ``wait=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module, device_of, is_cupy
from ...backend.cuda.graphs import GraphedStep
from ...backend.cuda.staging import Staging
from ...backend.precision import check_precision, use_precision
from ...data.loading.batches import arrays_in
from ...errors import ConfigError, ShapeError
from ...ops.contract.loss import Loss
from ...optim import Clip
from ...optim.groups import flat_groups
from ...random import Key
from ..state import Gradient, Update
from .keys import StepKeys
from .layout import Layout
from .plain import train_step

GoOn = Callable[[Gradient], bool]


class GraphedTrainStep:
    """Forward, backward and update of a model on a GPU, for batches of one shape.

    Args:
        model: on a GPU; has ``loss`` and ``loss_backward``, or an ``objective`` has them. Pack it for few launches.
        optimizer: of the model.
        objective: see `train_step`. What it computes on the host besides, such as a factor that changes with the
            number of the step, is frozen.
        max_grad_norm: see `train_step`.
        precision: of the products.
        warmups: plain steps before the capture.
        update: whether the update is part of the graph. ``False``, or an optimizer whose rule has no numbers on the
            GPU (`Optimizer.capturable`), launches it after the graph.

    Example:
        ```python
        step = GraphedTrainStep(model, AdamW(model), max_grad_norm=1.0)
        for number, batch in enumerate(batches):  # arrays on the GPU
            update = step(batch, lr=schedule(number), key=key.fold(number))
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
        update: bool = True,
    ) -> None:
        if precision == "float16":
            raise ConfigError("GraphedTrainStep: float16 scales its loss from the host; use bfloat16")
        self.model, self.optimizer = model, optimizer
        self.objective, self.max_grad_norm = objective, max_grad_norm
        self.precision = check_precision(precision)
        self.updates = update and getattr(optimizer, "capturable", False)
        self._keys, self._key = StepKeys(), Key(0, 0)
        self._layout: Layout | None = None
        self._draws = self._noted = False
        self._frozen: Any = None
        self._staging: Staging | None = None
        self._graph = GraphedStep(self._compute, warmups=warmups, fixed=self._fixed)

    @property
    def captured(self) -> bool:
        """Whether the step is a graph by now."""
        return self._graph.captured

    @property
    def capture_is_next(self) -> bool:
        """Whether the next call captures. If it fails, nothing has happened, and a plain step can take its place."""
        return self._graph.capture_is_next

    def fits(self, layout: Layout) -> bool:
        """Whether the graph is still the step of this model: for batches of this layout, with the same settings.

        Args:
            layout: of the micro-batches.
        """
        same = self._layout in (None, layout)
        return same and self._frozen in (None, self._what_is_frozen()) and self._graph.in_place()

    def __call__(self, batch: Any, *, lr: float, key: Key | None = None) -> Update:
        """One step on a batch; see `step`."""
        return self.step([(0, batch)], lr=lr, key=key)

    def step(
        self, micro_batches: Iterable[tuple[int, Any]], *, lr: float, key: Key | None = None, go_on: GoOn | None = None
    ) -> Update:
        """One step.

        Args:
            micro_batches: pairs of the index of the first sample in the whole batch and the micro-batch, nested arrays
                on the GPU.
            lr: learning rate of this update.
            key: random key of this step; see `train_step`. Given in each call or in none.
            go_on: see `train_step`; only where the update is no part of the graph.

        Returns:
            The update; its numbers are arrays () on the GPU.

        Raises:
            ConfigError: if an array is not on the GPU.
            ShapeError: if the batch differs in shapes, dtypes or anything but its arrays' content from the first one.
            DeviceError: if the model does what cannot be captured.
        """
        micro_batches = list(micro_batches)
        arrays = list(arrays_in([batch for _, batch in micro_batches]))
        if not arrays or not all(map(is_cupy, arrays)):
            raise ConfigError(
                "GraphedTrainStep: all arrays of a batch must be on the GPU; see minitrain.backend.to_device"
            )
        self._check(Layout.of(micro_batches), key)
        self._key = Key(0, 0) if key is None else key
        before = {name: x for name, x in vars(self.optimizer).items() if isinstance(x, int | float)}
        try:
            self.optimizer.set_lr(lr)
            late = self.optimizer.count_late() if self.updates else []
            found = self._graph(self._on_gpu([self._key.k0, self._key.k1, *late], arrays[0]), *arrays)
        except BaseException:
            vars(self.optimizer).update(before)  # no update was made
            raise
        if not self._noted:
            self._keys.end_noting(device_of(arrays[0]))
            self._noted, self._frozen = True, self._what_is_frozen()
        numbers = found["numbers"].copy()  # (3,): the next replay overwrites the graph's own
        loss, count, norm = numbers[0], numbers[1], numbers[2]
        done = True
        if not self.updates:
            clip = Clip(norm, found["scale"])
            done = go_on is None or go_on(Gradient(Loss(loss, count), clip))
            if done:
                self.optimizer.step(clip.scale)
        return Update(loss, count, lr, norm, skipped=not done)

    def _compute(self, numbers: Array, *arrays: Array) -> dict[str, Array]:
        """The step that is captured. ``numbers`` are the words of the key, and those of the update."""
        assert self._layout is not None
        key: Key | None = None
        if self._draws:
            key = self._keys.begin(numbers[:2].astype("uint32")) if self._noted else self._keys.begin_noting(self._key)
        clips: list[Clip] = []

        def go_on(gradient: Gradient) -> bool:
            clips.append(gradient.clip)
            return self.updates

        try:
            with (
                use_precision(self.precision),
                self.optimizer.reading(numbers[2:]) if self.updates else nullcontext(),
            ):
                done = train_step(
                    self.model,
                    self.optimizer,
                    self._layout.filled(arrays),
                    lr=self.optimizer.get_lr(),
                    key=key,
                    max_grad_norm=self.max_grad_norm,
                    objective=self.objective,
                    go_on=go_on,
                    wait=False,
                )
        finally:
            self._keys.end()
        xp = array_module(numbers)
        three = [x if is_cupy(x) else xp.full((), x, "float64") for x in (done.loss, done.tokens, done.grad_norm)]
        return {"numbers": xp.stack(three), "scale": clips[0].scale}

    def _check(self, layout: Layout, key: Key | None) -> None:
        """The first call decides what the others are like."""
        if self._layout is None:
            self._layout, self._draws = layout, key is not None
        elif layout != self._layout:
            raise ShapeError(
                f"GraphedTrainStep: the batch is {layout}, and {self._layout} in the first call; shapes and dtypes "
                "must stay, or make another GraphedTrainStep"
            )
        elif self._draws is not (key is not None):
            raise ConfigError("GraphedTrainStep: give a key in each call or in none; dropout depends on it")

    def _on_gpu(self, numbers: list[float], like: Array) -> Array:
        """The numbers that change, (n,) float64 on the GPU. The words of a key are exact in float64."""
        if self._staging is None:
            self._staging = Staging(device_of(like))
        return self._staging.place([np.array(numbers, np.float64)])[0]

    def _what_is_frozen(self) -> tuple[list[bool], dict[str, Any]]:
        """Which weights are trained, and the settings of the update."""
        settings = self.optimizer.frozen_settings() if self.updates else {}
        return [parameter.trainable for parameter in self.model.parameters()], settings

    def _fixed(self) -> list[Array]:
        """Weights, gradients and moments, whose addresses are in the graph."""
        moments = self.optimizer.memory() if self.updates else []
        if flat := flat_groups(self.model):
            return [*moments, *(x for group in flat for x in (group.data, group.grad))]
        parameters = [p for p in self.model.parameters() if p.trainable]
        return [*moments, *(x for p in parameters for x in (p.data, p.grad_buffer()))]
