"""The gradient of a private step: samples' gradients of bounded norm, summed, with noise (arXiv:1607.00133).

For samples ``i`` of a batch with the gradients ``g_i`` of their mean losses::

    G = sum_i g_i * min(1, C / |g_i|) + s * C * z,    z ~ N(0, I)

One sample more or less changes the sum by at most C. Sums are taken in float64, so that rounding adds no more to this
than about 1e-16 of the sum, and the noise is added before anything is rounded to the weights' type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module, to_number
from ...data.loading.batches import arrays_in, batch_rows, map_arrays
from ...errors import DataError, NonFiniteError
from ...nn.core.module import Module
from ...nn.core.nonfinite import first_bad_gradient
from ...nn.core.parameter import Parameter
from ...optim.clip import sum_of_squares
from ...random import Key, normal

ROW = 4096
"""Numbers of noise under one counter; a weight's noise depends on its place in its parameter alone."""
ROWS = 64
"""Rows of noise that are made at a time."""
MARGIN = 2.0**-20
"""The margin of a clipped norm below its limit, more than rounding to float32 can add."""


class PrivateStep(NamedTuple):
    """The parts that make a step private.

    Attributes:
        clip: C, the largest norm of a sample's gradient.
        noise_multiplier: standard deviation of the noise over C.
        batch_size: what the noisy sum is divided by: the mean size of a batch, not the size of this one.
        key: random key of this step's noise.
    """

    clip: float
    noise_multiplier: float
    batch_size: int
    key: Key


class PrivateGradients:
    """Adds up the gradients of the samples of a step, and puts the noisy sum where optimizers read it.

    Args:
        model: its trainable parameters, all on one device.
        clip: C, the largest norm of a sample's gradient.
        noise_multiplier: standard deviation of the noise over C.

    Attributes:
        flat: (n,) float64, the sum over the samples so far, of one parameter after the other.
        sums: views of it, by the paths and in the shapes of the parameters.
    """

    def __init__(self, model: Module, clip: float, noise_multiplier: float) -> None:
        self.model, self.clip, self.noise_multiplier = model, clip, noise_multiplier
        named = model.named_parameters()
        self._parameters: dict[str, Parameter] = {path: one for path, one in named if one.trainable}
        ends = list(accumulate(one.data.size for one in self._parameters.values()))
        xp = array_module(next((one.data for one in self._parameters.values()), None))
        self.flat: Array = xp.zeros(ends[-1] if ends else 0, "float64")
        self.sums: dict[str, Array] = {
            path: self.flat[end - one.data.size : end].reshape(one.data.shape)
            for end, (path, one) in zip(ends, self._parameters.items(), strict=True)
        }

    def add(self, count: float) -> float:
        """Take the gradient of one sample off the parameters, and add it to the sum with a norm of at most C.

        Args:
            count: number of targets of the sample; the gradient is that of their summed loss. 0 adds nothing.

        Returns:
            The norm of the gradient of the mean loss, before it was cut.

        Raises:
            NonFiniteError: if it is not finite; names the first bad array.
        """
        reached = {path: one for path, one in self._parameters.items() if not one.fresh}
        norm = (
            math.sqrt(to_number(sum(sum_of_squares(one.read_grad()) for one in reached.values()))) / count
            if count
            else 0.0
        )
        if not math.isfinite(norm):
            reason = first_bad_gradient(self.model) or "its squares overflow"
            raise NonFiniteError(f"the norm of a sample's gradient is {norm}: {reason}")
        factor = min(1.0, self.clip / (norm * (1 + MARGIN))) / count if norm else 0.0
        for path, parameter in reached.items():
            if factor:
                gradient = parameter.read_grad()
                self.sums[path] += array_module(gradient).multiply(gradient, factor, dtype="float64")
            parameter.zero_grad()
        return norm

    def finish(self, key: Key) -> None:
        """Put the sum with its noise into the parameters' gradients.

        Args:
            key: random key of this step's noise.
        """
        scale = self.noise_multiplier * self.clip
        for path, parameter in self._parameters.items():
            total = self.sums[path].reshape(-1)
            if scale:
                add_noise(total, scale, key.fold(path))
            parameter.grad[...] = total.reshape(parameter.data.shape)


def add_noise(total: Array, scale: float, key: Key) -> None:
    """Add normal numbers of standard deviation ``scale`` to the float64 array ``total`` (n,), in place."""
    xp = array_module(total)
    for start in range(0, total.size, ROWS * ROW):
        part = total[start : start + ROWS * ROW]
        rows = -(-part.size // ROW)
        noise = normal(key.at_sample(start // ROW), (rows, ROW), xp).reshape(-1)[: part.size]
        part += scale * noise


def one_by_one(micro_batches: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The samples of micro-batches as batches of one, with their places in the whole batch.

    Raises:
        DataError: if a batch has no arrays.
    """
    for first, batch in micro_batches:
        if next(arrays_in(batch), None) is None:
            raise DataError(
                f"a private step takes its samples apart, and a batch of type {type(batch).__name__} has none"
            )
        for row in range(batch_rows(batch)):
            yield first + row, map_arrays(batch, lambda x, row=row: x[row : row + 1])
