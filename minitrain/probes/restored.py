"""Trying something out on a training that is ready to go, and restoring every byte afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..training.feed import data_restored
from ..training.setup import Setup


@contextmanager
def state_restored(setup: Setup) -> Iterator[None]:
    """Within the block weights, moments and the data's position may change; after it they are as before."""
    weights = {path: array.copy() for path, array in setup.model.state_dict().items()}
    optimizer = setup.optimizer.state_dict()
    optimizer = {**optimizer, "moments": {path: array.copy() for path, array in optimizer["moments"].items()}}
    try:
        with data_restored(setup.data):
            yield
    finally:
        setup.model.load_state_dict(weights)
        setup.optimizer.load_state_dict(optimizer)
        setup.optimizer.zero_grad()
