"""The programs that ``train_step`` compares, each a child: ``python -m minitrain.benchmark.programs minitrain ...``.

All train the same model on the same batches: AdamW with decay on matrices, gradients clipped to norm 1, in float32 or
with operands of products in bfloat16 (PyTorch: autocast). A program is built, runs its first step and greets. From
then on it answers ``run K`` with the seconds of K steps.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from typing import Any

import numpy as np

from ..backend.memory import page_faults
from ..backend.pool import POOL
from ..backend.precision import use_precision
from .contestants import PRECISIONS
from .sgemm import SGEMMS
from .sizes import BETAS, LEARNING_RATE, MAX_GRAD_NORM, SIZES, WEIGHT_DECAY, Size
from .tokens import Batch, BatchStream
from .turns import Reply, peak_rss_mb, serve


class Program:
    """The program of a child process: one step after another, on batches prepared before the clock starts.

    Attributes:
        threads: the number of threads that the program uses, if it reports one.
        blas: the BLAS of its products, if it reports one.
    """

    threads: int | None = None
    blas: str | None = None

    def prepare(self, steps: int) -> None:
        """Prepare the data of the next steps; not timed."""

    def step(self) -> float:
        """One step; returns its loss."""
        raise NotImplementedError


class Minitrain(Program):
    """minitrain as its README uses it."""

    def __init__(self, size: Size, stream: BatchStream, precision: str = "float32") -> None:
        from ..backend import thread_count
        from ..backend.product_choice import in_use
        from ..models import GPT, GPTConfig, Llama, LlamaConfig
        from ..nn.core.packing import pack
        from ..optim import AdamW, clip_by_global_norm

        self.threads = thread_count()
        self.blas = str(in_use()["float32"])
        self.clip = clip_by_global_norm
        settings = size.model()
        self.model = GPT(GPTConfig(**settings)) if size.family == "gpt" else Llama(LlamaConfig(**settings))
        pack(self.model)
        self.optimizer = AdamW(self.model, lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
        self.stream = stream
        self.precision = precision
        self.batches: list[Batch] = []

    def prepare(self, steps: int) -> None:
        """Draw the batches of the next steps."""
        self.batches = [self.stream.next("int32") for _ in range(steps)]

    def step(self) -> float:
        """Forward, backward, clip, update."""
        self.optimizer.zero_grad()
        with use_precision(self.precision):
            loss, cache = self.model.loss(self.batches.pop())
            self.model.loss_backward(cache)
        clip = self.clip(self.model, MAX_GRAD_NORM, count=float(loss.count))
        self.optimizer.step(clip.scale)
        return loss.mean


class Torch(Program):
    """The same in PyTorch, eager or compiled; bfloat16 by autocast, which covers the forward."""

    def __init__(self, size: Size, stream: BatchStream, compiled: bool, precision: str = "float32") -> None:
        import torch

        from .torch_gpt import GPT, adamw
        from .torch_llama import Llama

        torch.manual_seed(0)
        self.torch = torch
        self.threads = torch.get_num_threads()
        self.model = GPT(**size.model()) if size.family == "gpt" else Llama(**size.model())
        self.loss = torch.compile(self.model.loss) if compiled else self.model.loss
        self.half = precision == "bfloat16"
        settings: dict[str, Any] = {"lr": LEARNING_RATE, "betas": BETAS, "weight_decay": WEIGHT_DECAY}
        self.optimizer = adamw(self.model, **settings, fused=True)
        self.stream = stream
        self.batches: list[list[Any]] = []

    def prepare(self, steps: int) -> None:
        """Draw the batches of the next steps."""
        self.batches = [[self.torch.from_numpy(x) for x in self.stream.next("int64")] for _ in range(steps)]

    def step(self) -> float:
        """Forward, backward, clip, update."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.torch.autocast("cpu", self.torch.bfloat16) if self.half else contextlib.nullcontext():
            loss = self.loss(*self.batches.pop())
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        return float(loss.item())


class Products(Program):
    """One of the matrix products in ``sgemm.py``."""

    def __init__(self, name: str) -> None:
        self.product = SGEMMS[name]()

    def step(self) -> float:
        """One product; its loss is 0."""
        self.product()
        return 0.0


PROGRAMS = ("minitrain", "eager", "compiled", *SGEMMS)


def build(name: str, size: Size, tokens: str, precision: str = "float32") -> Program:
    """The program called ``name``: one of ``PROGRAMS``. Products alone are always of float32."""
    if name in SGEMMS:
        return Products(name)
    stream = BatchStream(np.load(tokens), size.batch_size, size.block_size)
    if name == "minitrain":
        return Minitrain(size, stream, precision)
    return Torch(size, stream, compiled=name == "compiled", precision=precision)


def main() -> None:
    """Build the program named on the command line and serve it."""
    parser = argparse.ArgumentParser(prog="minitrain.benchmark.programs")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--config", choices=SIZES, required=True)
    parser.add_argument("--tokens", required=True, help="a .npy file of token ids")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the operands of products")
    arguments = parser.parse_args()
    program: Program

    def greet() -> Reply:
        nonlocal program
        program = build(arguments.program, SIZES[arguments.config], arguments.tokens, arguments.precision)
        after_build = peak_rss_mb()
        program.prepare(1)
        began = time.perf_counter()
        loss = program.step()
        seconds = time.perf_counter() - began
        return {
            "threads": program.threads,
            "blas": program.blas,
            "first_step_seconds": seconds,
            "first_loss": loss,
            "rss_after_build_mb": after_build,
        }

    def run(count: str) -> Reply:
        steps = int(count)
        program.prepare(1 + steps)
        program.step()  # not timed: it wakes the thread pool and refills the caches
        faults, cpu, times = page_faults(), time.process_time(), [time.perf_counter()]
        for _ in range(steps):
            loss = program.step()
            times.append(time.perf_counter())
        total = times[-1] - times[0]
        touched = page_faults()
        return {
            "page_faults": None if touched is None or faults is None else (touched - faults) / steps,
            "seconds": total / steps,
            "fastest": min(after - before for before, after in itertools.pairwise(times)),
            "cores": (time.process_time() - cpu) / total,
            "loss": loss,
            "pool_peak_mb": POOL.peak / 1e6,  # of minitrain's own arrays; 0 in other programs
        }

    serve(greet, {"run": run})


if __name__ == "__main__":
    main()
