"""The cost of choosing a token beside the model: ``python -m benchmarks.sampling_cost``.

The session is a stub that returns prepared logits, so all of the time is that of the engine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minitrain.benchmark.machine import describe
from minitrain.generation import Engine, SamplingParams

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "temperature": {"temperature": 0.8},
    "top-k": {"temperature": 0.8, "top_k": 20},
    "top-k, top-p": {"temperature": 0.8, "top_k": 20, "top_p": 0.9},
    "min-p": {"temperature": 0.8, "min_p": 0.05},
    "typical": {"temperature": 0.8, "typical_p": 0.9},
    "repetition, no 3-grams": {"temperature": 0.8, "repetition_penalty": 1.1, "no_repeat_ngram_size": 3},
    "greedy, 5 best": {"temperature": 0, "logprobs": 5},
}


class Stub:
    """A session that computes nothing."""

    longest = 1 << 30

    def __init__(self, vocab_size: int, slots: int) -> None:
        self.slots = slots
        self.logits = np.random.default_rng(0).normal(size=(slots, vocab_size)).astype(np.float32) * 3
        self.lengths = [0] * slots

    def extend(self, tokens: Any, *, every: bool = False) -> Any:
        """Prepared logits."""
        for slot, new in tokens.items():
            self.lengths[slot] += len(new)
        return self.logits[: len(tokens)].copy()

    def length(self, slot: int) -> int:
        """See `Session`."""
        return self.lengths[slot]

    def cut(self, slot: int, length: int) -> None:
        """See `Session`."""
        self.lengths[slot] = length

    def copy(self, source: int, target: int) -> None:
        """See `Session`."""
        self.lengths[target] = self.lengths[source]


def microseconds(vocab_size: int, slots: int, tokens: int, **settings: Any) -> float:
    """Time for each token of each row, of the processor: other programs do not count."""
    engine = Engine(Stub(vocab_size, slots))
    for _ in range(slots):
        engine.submit([1, 2, 3], SamplingParams(max_new_tokens=tokens, **settings))
    start = time.process_time()
    while engine.busy:
        engine.step()
    return (time.process_time() - start) / (tokens * slots) * 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table of microseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=300)
    arguments = parser.parse_args(argv)
    shapes = [(65, 1), (65, 8), (50257, 1), (50257, 8)]
    print(describe()["cpu"])
    print("microseconds for each token, median; V is the vocabulary, B the rows")
    print(f"{'':26}" + "".join(f"  V={V}, B={B}".rjust(16) for V, B in shapes))
    for name, settings in SETTINGS.items():
        times = []
        for V, B in shapes:
            tokens = arguments.tokens if V < 1000 else max(1, arguments.tokens // 10)
            rounds = [microseconds(V, B, tokens, **settings) for _ in range(arguments.rounds)]
            times.append(statistics.median(rounds))
        print(f"{name:26}" + "".join(f"{value:16.1f}" for value in times))


if __name__ == "__main__":
    main()
