"""A small step of PyTorch in 16 bits, before a large one is waited for: ``python -m minitrain.benchmark.probe eager``.

On a processor without units for bfloat16, PyTorch's products of such numbers may be hundreds of times slower than
those of float32. A peer like that would take minutes for a step. So it first takes one of one layer and 64 tokens, in
both precisions; if it is ``SLOW`` times as slow, this is told and the peer is left out. One thread and its CPU time
count, so that a busy machine does not hide the difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np

from .contestants import PEERS, PRECISIONS
from .programs import Torch
from .sizes import SIZES, Size
from .tokens import BatchStream, markov_tokens
from .turns import Reply, serve

SLOW = 3.0
LENGTH, VOCABULARY = 64, 1024
REPEATS = 3
LONG = 0.5  # seconds; a step that takes longer is not repeated


def small(size: Size) -> Size:
    """One layer of the same width, one short sequence, a small vocabulary."""
    vocabulary, length = min(size.vocab_size, VOCABULARY), min(size.block_size, LENGTH)
    return dataclasses.replace(size, n_layer=1, batch_size=1, block_size=length, vocab_size=vocabulary)


def step_seconds(kind: str, size: Size, precision: str) -> float:
    """CPU seconds of the fastest step after the first, on one thread; of the first one if that is long.

    Compiling is not part of it: a step before the first has compiled what is needed.
    """
    stream = BatchStream(np.asarray(markov_tokens(size.vocab_size, 4 * LENGTH)), size.batch_size, size.block_size)
    program = Torch(size, stream, compiled=kind == "compiled", precision=precision)

    def step() -> float:
        program.prepare(1)
        began = time.process_time()
        program.step()
        return time.process_time() - began

    if kind == "compiled":
        step()
    first = step()
    return first if first > LONG else min(step() for _ in range(REPEATS))


def main() -> None:
    """Take the steps and greet with their times."""
    parser = argparse.ArgumentParser(prog="minitrain.benchmark.probe")
    parser.add_argument("kind", choices=PEERS)
    parser.add_argument("--config", choices=SIZES, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    arguments = parser.parse_args()

    def greet() -> Reply:
        import torch

        torch.set_num_threads(1)
        size = small(SIZES[arguments.config])
        seconds = {name: step_seconds(arguments.kind, size, name) for name in ("float32", arguments.precision)}
        slowness = seconds[arguments.precision] / seconds["float32"]
        return {"seconds": seconds[arguments.precision], "float32_seconds": seconds["float32"], "slowness": slowness}

    serve(greet, {})


if __name__ == "__main__":
    main()
