"""One rank of a measurement: ``python -m minitrain.scaling.measured.rank KIND SIZE MICRO_BATCHES STEPS FOLDER``.

``train`` trains with the ordinary trainer, ``exchange`` calls collectives alone, ``add`` adds gradients in a tree. Each
rank writes what it took to ``FOLDER/rank-N.json``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...benchmark.sizes import BETAS, LEARNING_RATE, MAX_GRAD_NORM, SIZES, WEIGHT_DECAY, Size
from ...benchmark.tokens import markov_tokens
from ...data import TokenLoader
from ...distributed import Group, joined
from ...distributed.group import Messages
from ...distributed.tcp import TcpGroup
from ...distributed.tree import TreeSum
from ...models import GPT, GPTConfig
from ...nn import pack
from ...optim import AdamW, Constant
from ...training import Callback, StepView, Trainer, TrainingConfig, Update

SEQUENCES = 2
"""Of a micro-batch: few, so that what ranks add to the work is no small part of it."""
WARM_UP = 3
"""Steps before the clock starts: memory is taken, kernels are loaded."""
LARGE, SMALL = 1 << 18, 1 << 12
"""float32 numbers of the two buffers whose all-reduces tell the cost of a byte and of a message: 1 MB and 16 kB."""


class Meter:
    """The use of a rank so far: CPU seconds of its process, and the bytes that its group has sent.

    Args:
        group: the rank.
    """

    def __init__(self, group: Group) -> None:
        self._group, self._calls, self._bytes = group, 0, 0
        exchange, exchange_adding = group.exchange, group.exchange_adding

        def counted_adding(outgoing: Messages, incoming: Messages, dtype: Any) -> bool:
            done = exchange_adding(outgoing, incoming, dtype)
            if done:
                self._calls += 1
                self._bytes += sum(data.nbytes for data in outgoing.values())
            return done

        def counted(outgoing: Messages, incoming: Messages) -> None:
            self._calls += 1
            self._bytes += sum(data.nbytes for data in outgoing.values())
            exchange(outgoing, incoming)

        group.exchange = counted  # type: ignore[method-assign]
        group.exchange_adding = counted_adding  # type: ignore[method-assign]

    def read(self) -> dict[str, float]:
        """The sums so far."""
        sent = self._group.sent() if isinstance(self._group, TcpGroup) else None
        return {
            "cpu": time.process_time(),
            "seconds": time.perf_counter(),
            "calls": float(self._calls),
            "bytes": float(self._bytes),
            "wire": float(self._bytes if sent is None else sent),
        }


class Between(Callback):
    """Reads the meter after the warm-up, and after every step from then on."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self.readings = meter, list[dict[str, float]]()

    def on_step_end(self, view: StepView, update: Update) -> None:
        """See the class."""
        if view.step >= WARM_UP:
            self.readings.append(self._meter.read())


def train(group: Group, size: Size, micro_batches: int, steps: int) -> dict[str, Any]:
    """Train, and read the meter after every step."""
    model = GPT(GPTConfig(**size.model()), seed=0)
    pack(model)
    batch = micro_batches * size.batch_size
    between = Between(Meter(group))
    Trainer(
        model=model,
        optimizer=AdamW(model, lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY),
        scheduler=Constant(LEARNING_RATE),
        train_data=TokenLoader(markov_tokens(size.vocab_size), size.block_size, batch, seed=0),
        config=TrainingConfig(
            batch_size=batch,
            gradient_accumulation_steps=micro_batches,
            gradient_sum="tree",
            max_steps=WARM_UP + steps,
            max_grad_norm=MAX_GRAD_NORM,
            log_every=10_000,
        ),
        callbacks=[between],
        progress=False,
        warn=lambda message: None,
        group=group,
    ).train()
    weights = sum(parameter.data.size for parameter in model.parameters())
    return {"readings": between.readings, "weights": weights}


def exchange(group: Group, size: Size, micro_batches: int, steps: int) -> dict[str, Any]:
    """All-reduce a large and a small buffer, ``steps`` times ten times each."""
    buffers = {"large": np.zeros(LARGE, np.float32), "small": np.zeros(SMALL, np.float32)}
    return {
        name: _read_between(group, steps, functools.partial(group.all_reduce, array)) for name, array in buffers.items()
    }


def add(group: Group, size: Size, micro_batches: int, steps: int) -> dict[str, Any]:
    """Add the gradients of ``micro_batches`` in a tree, ``steps`` times ten times."""
    model = GPT(GPTConfig(**size.model()), seed=0)
    arrays = [np.zeros(sum(parameter.data.size for parameter in model.parameters()), np.float32)]
    summed = TreeSum(arrays)

    def tree() -> None:
        for number in range(micro_batches):
            summed.add(last=number == micro_batches - 1)

    return {"tree": _read_between(group, steps, tree)}


def _read_between(group: Group, steps: int, work: Callable[[], None]) -> list[dict[str, float]]:
    work()
    meter = Meter(group)
    readings = [meter.read()]
    for _ in range(steps):
        for _ in range(10):
            work()
        readings.append(meter.read())
    return readings


KINDS = {"train": train, "exchange": exchange, "add": add}


def main(kind: str, size: str, micro_batches: str, steps: str, folder: str) -> None:
    """Measure, and write what was found."""
    shape = dataclasses.replace(SIZES[size], batch_size=SEQUENCES)
    with joined() as group:
        assert group is not None, "started by minitrain.scaling.measured.runs"
        found = KINDS[kind](group, shape, int(micro_batches), int(steps))
        Path(folder, f"rank-{group.rank}.json").write_text(json.dumps(found), encoding="utf-8")
        group.barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
