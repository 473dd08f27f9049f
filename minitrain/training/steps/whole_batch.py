"""One step of an objective that compares the samples of a batch, on a batch in parts: the gradient of the whole batch.

The encoders see one part at a time, twice (gradient caching, Gao et al., 2021, arXiv:2101.06983; see
`minitrain.losses.gradient_caching`). Several ranks share the parts::

    1. each rank computes the features of its parts, and drops their caches
    2. the ranks exchange features, and each computes the loss of all of them, and the gradient of each
    3. each rank runs its parts forward again, and backward with their slices of that gradient

So a micro-batch is a part of the encoders' work, and not of the comparison. Features are small: of 4,096 pairs with 512
numbers a side, 16 MB are exchanged. The loss has as many scores as there are pairs of samples, and every rank computes
all of them: that costs each rank what it would cost one, and gives all of them the same bytes. What the loss itself
learns, such as a temperature, has its gradient from the whole batch too; it counts once, with the first part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module, device_of, to_device
from ...distributed.group import Alone, Group
from ...distributed.rows import gather_rows
from ...errors import BadSampleError, NonFiniteError
from ...losses.gradient_caching import backward_in_parts, features_in_parts
from ...ops.contract.loss import Loss
from ...random import Key
from ..nonfinite import why_not_finite


class Compared(NamedTuple):
    """Saved for the backward."""

    inputs: list[tuple[Any, ...]]  # of each part of this rank
    loss: Any


class WholeBatch:
    """An objective and the parts of one batch that this rank has.

    Args:
        objective: such as `DualEncoder`. ``inputs_and_groups(batch)`` returns the inputs of its ``forward``, whose
            features and cache its ``backward`` takes, and an array (B,) or ``None``, which its loss ``contrast`` takes
            after the features.
        parts: pairs of the index of the first sample in the whole batch and the micro-batch; a rank may have none.
        key: random key of the step; ``None`` drops nothing.
        group: the ranks that share the batch; one process by default.
    """

    def __init__(
        self, objective: Any, parts: Sequence[tuple[int, Any]], key: Key | None = None, group: Group | None = None
    ) -> None:
        self.objective, self.parts, self.key = objective, parts, key
        self.group = Alone() if group is None else group

    @staticmethod
    def suits(objective: Any) -> bool:
        """Whether an objective compares the samples of a batch in this way."""
        return hasattr(objective, "inputs_and_groups") and hasattr(objective, "contrast")

    def loss(self) -> tuple[Loss, Compared]:
        """The summed loss of the whole batch, the same on all ranks, and the cache. All ranks call it."""
        read = [self.objective.inputs_and_groups(part) for _, part in self.parts]
        inputs, groups = [one for one, _ in read], [some for _, some in read]
        rows: list[list[Array]] = []  # of each part: features, and groups if all parts of all ranks have some
        grouped = self._everywhere(all(some is not None for some in groups))
        for (first, _), one, some in zip(self.parts, inputs, groups, strict=True):
            rows.append([*features_in_parts(self.objective, [one], key=self._key(first)), *([some] * grouped)])
        whole = [array_module(kind[0]).concatenate(kind) for kind in zip(*rows, strict=True)]  # (b, ...) -> (n, ...)
        if self.group.size > 1:
            whole = self._gathered(whole, [len(row[0]) for row in rows])
        *features, numbers = whole if grouped else [*whole, None]
        loss, cache = self.objective.contrast.forward(*features, numbers)
        return loss, Compared(inputs, cache)

    def backward(self, cache: Compared, dtotal: float = 1.0) -> Iterator[int]:
        """Add the gradients of ``dtotal`` times the summed loss, one part of this rank after the other.

        Yields:
            The index of the first sample of each part, after its backward. Gradients may be taken away then.
        """
        if not self.parts:
            return
        gradients = self.objective.contrast.backward(dtotal, cache.loss)
        if not self.group.is_main and hasattr(self.objective.contrast, "parameters"):
            for parameter in self.objective.contrast.parameters():
                parameter.zero_grad()  # rank 0 counts it, with the first part
        for (first, _), inputs in zip(self.parts, cache.inputs, strict=True):
            mine = [gradient[first:] for gradient in gradients]  # (N, C) -> (N - first, C)
            backward_in_parts(self.objective, [inputs], mine, key=self._key(first))
            yield first

    def why_not_finite(self, loss: float, model: Any, cache: Compared) -> NonFiniteError:
        """The error for a loss that is not finite, the same on all ranks; a bad sample on any rank comes first."""
        errors = [why_not_finite(loss, model, part, cache, first) for first, part in self.parts]
        mine = [[isinstance(error, BadSampleError), str(error)] for error in errors]
        every = [one for told in self.group.gather(mine) for one in told]  # in the order of the samples
        bad_sample, message = next((one for one in every if one[0]), every[0])
        return (BadSampleError if bad_sample else NonFiniteError)(message)

    def _gathered(self, rows: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
        """The rows of all ranks in the order of the samples, whichever parts a rank has."""
        owner = self.objective if hasattr(self.objective, "parameters") else self.objective.model
        device = next((device_of(parameter.data) for parameter in owner.parameters()), "cpu")
        mine = [np.arange(first, first + size) for (first, _), size in zip(self.parts, sizes, strict=True)]
        (places,) = gather_rows(self.group, [np.concatenate(mine)] if mine else [])
        found = gather_rows(self.group, [to_device(array, device) for array in rows], device)
        if not (np.diff(places) > 0).all():
            order = to_device(np.argsort(places), device)
            found = [array[order] for array in found]
        return found

    def _key(self, first: int) -> Key | None:
        return None if self.key is None else self.key.at_sample(first)

    def _everywhere(self, holds: bool) -> bool:
        return holds if self.group.size == 1 else all(self.group.gather(holds))
