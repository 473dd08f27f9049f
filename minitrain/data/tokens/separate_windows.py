"""A text cut into windows that share no token: the samples of private training."""

from __future__ import annotations

import numpy as np

from ...errors import DataError
from ..ids import as_int32
from ..loading.batches import Batch
from ..samples.datasets import SampleDataset
from .token_array import TokenArray


class SeparateWindows(SampleDataset):
    """Adjacent windows of ``block_size + 1`` tokens, each with the next token of all but the last.

    The borders are always the same and no token is in two windows, so a change of one window changes one sample. Tokens
    at the end that fill no window are left out.

    Attributes:
        tokens: ``(N,)`` token ids.
        block_size: T, inputs in a window.

    Raises:
        DataError: if there are too few tokens for a window.
    """

    def __init__(self, tokens: TokenArray, block_size: int) -> None:
        self.tokens, self.block_size = tokens, block_size
        if len(self) == 0:
            raise DataError(
                f"the training text has {tokens.shape[0]} tokens, too few for a window of {block_size + 1}: use a "
                "longer text or a smaller data.block_size"
            )

    def __len__(self) -> int:
        return int(self.tokens.shape[0]) // (self.block_size + 1)

    def __getitem__(self, index: int) -> Batch:
        """Window ``index``: inputs and targets, int32 ``(T,)`` each."""
        start = self._checked(index) * (self.block_size + 1)
        window = as_int32(np.array(self.tokens[start : start + self.block_size + 1]))  # a copy
        return Batch(window[:-1], window[1:])
