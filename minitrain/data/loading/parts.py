"""Some of the micro-batches of a step, for a rank that works on these and no others.

A loader may have ``some_micro_batches(step, accumulation, wanted)``, which reads nothing else. Each micro-batch is then
put together by itself, so that rows are padded to the longest of their own micro-batch, whoever reads it.
"""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError


def some_micro_batches(loader: Any, step: int, accumulation: int, wanted: range) -> list[tuple[int, Any]]:
    """The micro-batches ``wanted`` of batch ``step`` in ``accumulation`` parts; see `Loader.micro_batches`.

    A loader without such a method reads all of them.

    Args:
        loader: a `Loader`.
        step: number of the step, from 0.
        accumulation: number of micro-batches of the whole batch.
        wanted: numbers of those to return; fewer come if the batch has few samples.
    """
    if hasattr(loader, "some_micro_batches"):
        parts: list[tuple[int, Any]] = loader.some_micro_batches(step, accumulation, wanted)
        return parts
    every: list[tuple[int, Any]] = loader.micro_batches(step, accumulation)
    return every[wanted.start : wanted.stop : wanted.step]


def borders(size: int, parts: int, wanted: range) -> list[tuple[int, int]]:
    """First sample and number of samples of the micro-batches ``wanted``, as `split_batch` cuts them.

    Raises:
        ConfigError: if there are more parts than samples, or none.
    """
    if not 1 <= parts <= size:
        raise ConfigError(
            f"cannot split a batch of batch_size={size} in accumulation_steps={parts} "
            f"parts: choose 1 to {size}, or a larger batch_size"
        )
    firsts = [(size * number // parts, size * (number + 1) // parts) for number in wanted]
    return [(first, last - first) for first, last in firsts]
