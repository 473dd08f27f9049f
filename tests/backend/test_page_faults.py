"""A steady training step asks the operating system for no memory: what one step gives back, the next one uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from minitrain.backend.memory import page_faults

WINDOW = 5  # steps
# The C library's own first value: it asks the system for each block from this size on and gives it back when it is
# freed. Left to itself it raises the value when it sees such blocks come and go, and hides what is looked for here.
MMAP_THRESHOLD = 128 * 1024
# An array of that size has 32 pages, and faults 160 times if it is new in each of five steps. A step of the models
# below has dozens of them, up to twelve times as large. What is left are Python's own objects: up to 9 faults.
BOUND = 20

PROGRAM = """
import json, sys
import numpy as np
from minitrain import models, nn, optim
from minitrain.backend import pool
from minitrain.data import TokenLoader
from minitrain.backend.memory import page_faults
from minitrain.random import Key
from minitrain.training.loop import train_step

window, smallest = int(sys.argv[1]), int(sys.argv[2])
pool.SMALLEST = smallest or pool.SMALLEST
sizes = {"vocab_size": 65, "block_size": 64, "n_layer": 2, "n_head": 4, "n_embd": 128, "dropout": 0.1}
loader = TokenLoader(np.random.default_rng(0).integers(0, 65, 20_000), 64, 12, 0)
key = Key.from_seed(0)

def faults_of(model):
    nn.pack(model)
    optimizer = optim.AdamW(model)

    def faults(first):
        before = page_faults()
        for step in range(first, first + window):
            train_step(
                model, optimizer, loader.micro_batches(step, 1), lr=1e-3, key=key.fold(step), max_grad_norm=1.0
            )
        return page_faults() - before

    faults(0)  # compiles the kernels and fills the pool
    return [faults(window), faults(2 * window), faults(3 * window)]

found = {"gpt": faults_of(models.GPT(models.GPTConfig(**sizes)))}
if not smallest:
    found["llama"] = faults_of(models.Llama(models.LlamaConfig(**sizes, n_kv_head=2)))
    found["loss in chunks"] = faults_of(models.GPT(models.GPTConfig(**sizes, loss_chunk=256)))
print(json.dumps([found, pool.POOL.peak]))
"""


def run(*, smallest: int = 0) -> tuple[dict[str, int], int]:
    """Page faults of five steps in a fresh process by model, the least of three times, and the pool's peak in bytes.

    The least: the C library lets its heap grow or shrink at times of its own, while an array that is new in every step
    is new in all three.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(WINDOW), str(smallest)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD), "MINITRAIN_KERNELS": "auto"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found, peak = json.loads(done.stdout)
    return {name: min(faults) for name, faults in found.items()}, peak


pytestmark = [
    pytest.mark.skipif(page_faults() is None, reason="nobody counts page faults here"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count other things as faults"),
]


def test_a_steady_step_has_no_page_faults() -> None:
    faults, peak = run()
    assert peak > 1 << 20, "the arrays are too small for the pool: nothing was tested"
    assert faults.keys() == {"gpt", "llama", "loss in chunks"}
    assert all(count < BOUND for count in faults.values()), faults


def test_without_the_pool_the_check_fails() -> None:
    faults, peak = run(smallest=1 << 60)  # all arrays are smaller: np.empty makes them
    assert peak == 0
    assert faults["gpt"] > 100 * BOUND
