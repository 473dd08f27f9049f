"""Batches of a text with some samples of a list among them, in an order that is a pure function of seed and step."""

from __future__ import annotations

import numpy as np

from ...errors import ConfigError, DataError
from ...random import Key
from ..loading.batches import Batch, checked_step, split_batch
from ..loading.order import EpochOrder
from .loader import TokenLoader

_WHOLE = 1 << 32


class MixedTokenLoader:
    """Training batches of a `TokenLoader`, of which a share are samples of a list.

    All samples of all steps form one sequence. The listed ones are spread over it as evenly as can be, so the share is
    exact over time for any batch size. No window of the text is left out for them: an epoch takes more steps instead.
    The list is gone through in a new order each time.

    Args:
        windows: the text; its batch size is that of the mixed batches.
        listed: ``inputs`` (n, T) and ``targets`` (n, T).
        share: of all samples, how many are listed ones.

    Raises:
        ConfigError: if ``share`` is not above 0 and below 1.
        DataError: if the list is empty, or its samples are not as long as the windows.
    """

    def __init__(self, windows: TokenLoader, listed: Batch, share: float) -> None:
        if not 0 < share < 1:
            raise ConfigError(f"share={share} of the samples must be above 0 and below 1")
        if listed.inputs.ndim != 2 or not listed.inputs.shape[0] or listed.inputs.shape[1] != windows.block_size:
            raise DataError(
                f"the listed samples are of shape {listed.inputs.shape}; (n, {windows.block_size}) with n of 1 or more "
                "is expected, as the windows are"
            )
        self.windows, self.listed, self.share = windows, listed, share
        self._weight = round(share * _WHOLE)  # in whole numbers, so that no step rounds otherwise than another
        self._order = EpochOrder(listed.inputs.shape[0], Key.from_seed(windows.seed).fold("listed"))

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every window of the text comes at least once."""
        of_text = _WHOLE - self._weight
        return -(-self.windows.windows_per_epoch * _WHOLE // (of_text * self.windows.batch_size))

    def batch(self, step: int) -> Batch:
        """The batch of training step ``step``, counted from 0: windows of the text, then listed samples.

        Raises:
            ConfigError: if ``step`` is negative.
        """
        B = self.windows.batch_size
        first = checked_step(step) * B
        before, after = (position * self._weight // _WHOLE for position in (first, first + B))
        chosen = self._order.take(before, after - before)
        text = self.windows.samples(first - before, B - len(chosen))
        return Batch(*(np.concatenate([a, b[chosen]]) for a, b in zip(text, self.listed, strict=True)))

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Batch]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample; see `split_batch`.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above the batch size.
        """
        return split_batch(self.batch(step), accumulation)
