"""The largest batch that fits into memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.memory import available_memory
from ..backend.pool import POOL
from ..backend.precision import use_precision
from ..data.loading.batches import map_arrays
from ..errors import ConfigError
from ..formats import size
from ..optim import compute_grad_norm
from ..training.feed import batch_to, data_restored
from ..training.memory import weights_bytes
from ..training.setup import HasSetup, Setup, setup_of
from .restored import state_restored


@dataclass(frozen=True)
class BatchSearch:
    """The result of a search for the batch size.

    Attributes:
        largest: most samples whose forward and backward fit into the memory.
        bytes_per_sample: memory for the activations of one.
        limit: bytes that were taken as the limit.
        tried: sizes that were run, with their peaks in bytes.
    """

    largest: int
    bytes_per_sample: float
    limit: int
    tried: dict[int, int]

    def describe(self) -> str:
        """One line for the screen."""
        return (
            f"up to {self.largest:,} samples fit into {size(self.limit)}, at {size(int(self.bytes_per_sample))} each; "
            "larger batches by gradient_accumulation_steps"
        )


def find_batch_size(training: Setup | HasSetup, *, memory: int | None = None, most: int = 4096) -> BatchSearch:
    """The largest micro-batch whose activations fit into memory.

    Activations grow in proportion to the batch, so two small runs tell the size of a sample; the answer is then run
    itself, and halved as long as memory runs out.

    Args:
        training: a trainer that is ready to train, or its `Setup`; it is as before afterwards.
        memory: bytes for the activations; by default four fifths of what is free.
        most: no more samples than this.

    Raises:
        ConfigError: if not even one sample fits, or the memory is not known.
    """
    free = available_memory()
    limit = memory if memory is not None else None if free is None else int(0.8 * free)
    if limit is None:
        raise ConfigError("find_batch_size: the system does not say how much memory is free; pass memory=")
    setup = setup_of(training)
    with data_restored(setup.data):
        _, sample = setup.data.micro_batches(0 if isinstance(training, Setup) else training.state.step, 1)[0]
    tried: dict[int, int] = {}
    with state_restored(setup):
        for count in (1, 2, 4):
            tried[count] = _peak(setup, _resized(sample, count))
        each = max(1.0, (tried[4] - tried[2]) / 2)
        fixed = max(0.0, tried[4] - 4 * each)
        largest = min(most, math.floor((limit - fixed) / each))
        while largest > 4:
            try:
                tried[largest] = _peak(setup, _resized(sample, largest))
                if tried[largest] <= limit:
                    break
            except MemoryError:
                pass
            largest = min(largest - 1, largest * 7 // 8)
    largest = largest if largest > 4 else max((n for n in (1, 2, 4) if tried[n] <= limit), default=0)
    if largest < 1:
        raise ConfigError(
            f"find_batch_size: one sample takes {size(tried[1])} and the limit is {size(limit)} (weights, gradients "
            f"and moments take {size(weights_bytes(setup.model, setup.optimizer))} besides): shorten the "
            "sequences, or take a smaller model"
        )
    return BatchSearch(largest, each, limit, tried)


def _peak(setup: Setup, batch: Any) -> int:
    """Bytes that a forward, a backward and the norm of the gradient take at their peak."""
    setup.optimizer.zero_grad()
    before = POOL.in_use
    POOL.reset_peak()
    with use_precision(setup.arithmetic.precision):
        _, cache = setup.objective.loss(batch_to(batch, setup.device), key=setup.key.fold("find batch size"))
        setup.objective.loss_backward(cache)
    compute_grad_norm(setup.model)
    return POOL.peak - before


def _resized(batch: Any, count: int) -> Any:
    """A batch of ``count`` samples, its own ones over and over."""
    return map_arrays(batch, lambda x: x[np.arange(count) % len(x)])
