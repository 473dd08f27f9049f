"""Derivatives by central differences, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy

STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))
"""Five-point rule for a first derivative, offsets and weights: its error is of the order of step**4."""

ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Assumed relative error of an output: a few roundings, on their way through a sum or an exponential."""


class Probe:
    """Differentiates ``sum(cotangent * output)`` numerically, by arrays that it moves and puts back.

    Args:
        evaluate: computes the outputs from the current contents of the arrays.
        outputs: what it gives before anything is changed.
        cotangents: one for each output, float64, of its shape.
        step: relative length of a difference.
    """

    def __init__(
        self,
        evaluate: Callable[[], Sequence[Array]],
        outputs: Sequence[Array],
        cotangents: Sequence[Array],
        step: float,
    ) -> None:
        self._evaluate, self._cotangents, self._step = evaluate, cotangents, step
        squares = [float((abs(c * out) ** 2).sum()) for c, out in zip(cotangents, outputs, strict=True)]
        self.noise = ROUNDING * float(np.sqrt(sum(squares))) / step
        """Absolute error to expect from rounding in a derivative along a direction of elements near 1."""

    def along(self, value: Array, direction: Array) -> float:
        """The derivative along ``direction`` (of ``value``'s shape), with ``value`` as it was afterwards."""
        before = value.copy()
        changes: list[Array] = [c * 0 for c in self._cotangents]
        for offset, weight in STENCIL:
            value[...] = before + offset * self._step * direction
            # Element by element, before the sum: a difference of two sums would lose more to cancellation.
            changes = [change + weight * out for change, out in zip(changes, self._evaluate(), strict=True)]
        value[...] = before
        total = sum(float((c * change).sum()) for c, change in zip(self._cotangents, changes, strict=True))
        return total / self._step

    def elements(self, value: Array, flat_indices: Iterable[int]) -> Array:
        """The partial derivatives for some elements, by their index in C order."""
        xp = array_module(value)
        lengths = to_numpy(step_lengths(value)).reshape(-1)
        derivatives = []
        for i in flat_indices:
            direction = xp.zeros(value.size)
            direction[i] = lengths[i]
            derivatives.append(self.along(value, direction.reshape(value.shape)) / lengths[i])
        return np.array(derivatives)


def step_lengths(value: Array) -> Array:
    """How far each element moves for a step of 1: an element's own size, but at least 1."""
    return array_module(value).maximum(abs(value), 1.0)  # type: ignore[no-any-return]
