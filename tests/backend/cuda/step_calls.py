"""What one training step of a small GPT enqueues on a GPU, as a list that people can read.

``python -m tests.backend.cuda.step_calls`` prints it, and with ``--write`` renews the file that the test compares with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minitrain.backend import to_device
from minitrain.models import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW
from minitrain.random import Key
from minitrain.testing.cuda.fake import emulated_device
from minitrain.training.loop import train_step

GOLDEN = Path(__file__).parent / "golden" / "gpt_step.txt"
HEADER = """\
What one training step of a small GPT enqueues on a GPU: 1 layer, 2 heads, width 16, 11 tokens, 2 sequences of 8.
"kernel" is a launch of minitrain.kernels.cuda with its grid, its block and its arrays; "cublaslt" is a product;
anything else is a function of CuPy with its result, one launch or more. Views launch nothing and are left out.
`python -m tests.backend.cuda.step_calls --write` renews this file.
"""


def calls() -> list[str]:
    """The calls of the second step: the first one makes what is kept."""
    config = GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.1)
    tokens = np.random.default_rng(0).integers(0, 11, (2, 2, 8)).astype(np.int32)
    with emulated_device() as device:
        model = GPT(config, seed=0).to("cuda")
        pack(model)
        optimizer, batch = AdamW(model, lr=1e-3), tuple(to_device(x, "cuda") for x in tokens)
        for step in range(2):
            with device.counting() as counts:
                train_step(
                    model, optimizer, [(0, batch)], lr=1e-3, key=Key.from_seed(step), max_grad_norm=1.0, wait=False
                )
        return counts.calls


def text() -> str:
    """The list with its header; equal neighbours are one line."""
    lines: list[tuple[str, int]] = []
    for call in calls():
        if lines and lines[-1][0] == call:
            lines[-1] = (call, lines[-1][1] + 1)
        else:
            lines.append((call, 1))
    numbered = [f"{call}{f'   ({times} times)' if times > 1 else ''}" for call, times in lines]
    kernels = sum(times for call, times in lines if call.startswith("kernel "))
    products = sum(times for call, times in lines if call.startswith("cublaslt "))
    others = sum(times for _, times in lines) - kernels - products
    total = f"{kernels} kernels, {products} products, {others} functions of CuPy\n"
    return HEADER + total + "\n" + "\n".join(numbered) + "\n"


def main() -> None:
    """Print or write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"renew {GOLDEN.name}")
    if parser.parse_args().write:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text())
    else:
        print(text(), end="")


if __name__ == "__main__":
    main()
