"""The losses that a float32 training on a CPU has, which those on a card are compared with.

python -m benchmarks.gpu.reference    # trains GPT-2 124M for 200 small steps and writes reference_losses.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from minitrain.backend.info import processor_name
from minitrain.benchmark.sizes import BETAS, LEARNING_RATE, MAX_GRAD_NORM, WEIGHT_DECAY
from minitrain.benchmark.tokens import BatchStream, markov_tokens
from minitrain.data.loading.batches import Batch

from . import shapes
from .shapes import Workload

FILE = Path(__file__).parent / "reference_losses.json"


def train(work: Workload) -> list[float]:
    """The losses of the workload on this machine's CPU, from minitrain's own initial weights."""
    from minitrain.models import GPT, GPTConfig
    from minitrain.nn import pack
    from minitrain.optim import AdamW
    from minitrain.training.steps.plain import train_step

    size = work.size
    model = GPT(GPTConfig(**work.model()))
    pack(model)
    optimizer = AdamW(model, lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
    stream = BatchStream(markov_tokens(size.vocab_size), size.batch_size, size.block_size)
    found = []
    for _ in range(size.steps):
        batch = Batch(*stream.next("int32"))
        update = train_step(model, optimizer, [(0, batch)], lr=LEARNING_RATE, max_grad_norm=MAX_GRAD_NORM)
        found.append(update.loss / update.tokens)
    return found


def reference(emulated: bool) -> list[float]:
    """The losses to compare with: those of the file, or of a tiny training done now.

    Raises:
        ValueError: if the file is of another workload.
    """
    if emulated:
        return train(shapes.losses(True))
    found = json.loads(FILE.read_text())
    if found["workload"] != described(shapes.LOSSES):
        raise ValueError(f"{FILE.name} is of another workload: run python -m benchmarks.gpu.reference again")
    losses: list[float] = found["losses"]
    return losses


def described(work: Workload) -> dict[str, Any]:
    """The settings that the losses depend on."""
    size = work.size
    return {"model": work.model(), "batch": size.batch_size, "steps": size.steps, "lr": LEARNING_RATE}


def main() -> int:
    """Train, and write the file."""
    began = time.perf_counter()
    losses = train(shapes.LOSSES)
    found = {
        "workload": described(shapes.LOSSES),
        "processor": processor_name(),
        "seconds": round(time.perf_counter() - began),
        "losses": [round(loss, 6) for loss in losses],
    }
    FILE.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{FILE.name}: loss {losses[0]:.4f} to {losses[-1]:.4f} in {found['seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
