"""How much of the machine a training uses: the arithmetic of its model next to the fastest matrix product."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np

from ....backend.arrays import to_device, to_number
from ....models.common.decoder import Decoder
from ....models.flops import TRAINING
from ....ops import linear_forward

SIZE, REPEATS = 1024, 5


@functools.cache
def sgemm_peak(device: str = "cpu", size: int | None = None) -> float:
    """Floating-point operations a second that a product of large float32 matrices reaches, threads and all.

    Measured once in a process, in a fraction of a second: the fastest of a few products of square matrices, by the
    same code that the model's linear layers run.

    Args:
        device: where.
        size: rows and columns of the matrices, 1024 by default.
    """
    size = SIZE if size is None else size
    values = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
    x, weight = to_device(values, device)

    def seconds() -> float:
        begin = time.perf_counter()
        out, _ = linear_forward(x, weight, None)
        to_number(out[0, 0])  # waits for a GPU
        return time.perf_counter() - begin

    seconds()  # compiles the kernel, starts the threads
    return float(2 * size**3 / min(seconds() for _ in range(REPEATS)))


def flops_per_second(model: Any, tokens_per_second: float, samples_per_second: float | None) -> float | None:
    """Floating-point operations a second of a model's matrix products in training; see `minitrain.models.flops`.

    A decoder's are counted by the tokens that it predicts, those of other models by the samples, each of full length.

    Args:
        model: the model.
        tokens_per_second: targets trained on.
        samples_per_second: samples trained on; ``None`` if nobody knows.

    Returns:
        ``None`` if the model does not say what it costs (``forward_flops``), or its samples were not counted.
    """
    if not hasattr(model, "forward_flops"):
        return None
    forward = model.forward_flops()
    if isinstance(model, Decoder):
        return float(TRAINING * forward.total / forward.tokens * tokens_per_second)
    return None if samples_per_second is None else float(TRAINING * forward.total * samples_per_second)
