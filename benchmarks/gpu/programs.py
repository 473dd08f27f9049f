"""The programs that train in turn on one card: ``python -m benchmarks.gpu.programs "eager bfloat16" gpt2``.

All train the same model on the same batches, which lie on the card before the clock starts: AdamW with decay on
matrices, gradients clipped to norm 1. None waits for the card within a turn.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import numpy as np

from minitrain.backend import to_device, to_numpy, use_precision
from minitrain.backend.cuda.launch import record_launches
from minitrain.benchmark.sizes import BETAS, LEARNING_RATE, MAX_GRAD_NORM, WEIGHT_DECAY
from minitrain.benchmark.tokens import BatchStream, markov_tokens
from minitrain.benchmark.turns import Reply, serve
from minitrain.data.loading.batches import Batch
from minitrain.kernels.cuda.attention.engine import use_attention_engine

from . import shapes
from .place import Place, out_of_memory, peak_of, place
from .shapes import Workload

KINDS = ("minitrain", "minitrain graph", "minitrain cudnn", "eager", "compiled", "graph")
"""``graph`` is PyTorch compiled with ``mode="reduce-overhead"``; ``cudnn`` takes attention from cuDNN."""


class Program:
    """A training.

    Attributes:
        parts: into how many micro-batches a batch is split, because the card had no room for more.
    """

    parts = 1
    batches: list[Any]

    def __init__(self, place: Place, work: Workload, precision: str) -> None:
        self.place, self.work, self.precision = place, work, precision
        size = work.size
        self.stream = BatchStream(markov_tokens(size.vocab_size), size.batch_size, size.block_size)

    def prepare(self, steps: int) -> None:
        """Put the batches of the next steps on the card."""
        raise NotImplementedError

    def step(self) -> Any:
        """Begin one step; returns its mean loss, which `read` waits for."""
        raise NotImplementedError

    def read(self, loss: Any) -> float:
        """A loss as a number."""
        raise NotImplementedError

    def rest(self) -> None:
        """Free memory for the others."""
        raise NotImplementedError

    def memory(self) -> Reply:
        """One more step: the most bytes of arrays at once, and what the allocator holds."""
        raise NotImplementedError

    def first_step(self) -> float:
        """The first step, in as many parts as it needs to fit; its loss."""
        while True:
            self.prepare(1)
            try:
                return self.read(self.step())
            except Exception as error:
                if not out_of_memory(error) or self.parts >= self.work.size.batch_size:
                    raise
            self.parts *= 2
            self.rest()


class Minitrain(Program):
    """minitrain; as a graph, a step is one launch."""

    def __init__(
        self, place: Place, work: Workload, precision: str, *, graph: bool = False, attention: str = "own"
    ) -> None:
        from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig
        from minitrain.nn import pack
        from minitrain.optim import AdamW

        super().__init__(place, work, precision)
        size, options = work.size, work.model()
        if size.tokens * size.vocab_size * 4 > 1 << 30:  # logits of more than a GiB are not held at once
            options["loss_chunk"] = 4096
        model = GPT(GPTConfig(**options)) if size.family == "gpt" else Llama(LlamaConfig(**options))
        self.model: Any = model.to("cuda")
        pack(self.model)
        self.attention = attention, place.cudnn() if attention == "cudnn" else None
        self.optimizer = AdamW(self.model, lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)
        self.graph: Any = None
        if graph:
            from minitrain.training.steps.graphed import GraphedTrainStep

            self.graph = GraphedTrainStep(self.model, self.optimizer, max_grad_norm=MAX_GRAD_NORM, precision=precision)

    def prepare(self, steps: int) -> None:
        """See `Program`."""
        self.batches = [Batch(*(to_device(x, "cuda") for x in self.stream.next("int32"))) for _ in range(steps)]

    def step(self) -> Any:
        """See `Program`."""
        from minitrain.training.steps.plain import train_step

        batch = self.batches.pop()
        if self.graph is not None:
            return self.graph(batch, lr=LEARNING_RATE)
        rows = len(batch.inputs) // self.parts
        pieces = [(i * rows, Batch(*(x[i * rows : (i + 1) * rows] for x in batch))) for i in range(self.parts)]
        with use_precision(self.precision), use_attention_engine(*self.attention):
            return train_step(
                self.model, self.optimizer, pieces, lr=LEARNING_RATE, max_grad_norm=MAX_GRAD_NORM, wait=False
            )

    def first_step(self) -> float:
        """See `Program`."""
        loss = super().first_step()
        for _ in range(3 if self.graph is not None else 0):  # until the graph is captured
            self.prepare(1)
            self.step()
        return loss

    def read(self, loss: Any) -> float:
        """See `Program`."""
        return float(to_numpy(loss.loss)) / float(to_numpy(loss.tokens))

    def rest(self) -> None:
        """See `Program`."""
        self.place.give_back()

    def memory(self) -> Reply:
        """See `Program`."""
        self.prepare(1)
        with record_launches() as launches:
            peak = peak_of(self.place, self.step)
        self.place.wait()
        return {"peak": peak, "held": self.place.held(), "kernels": len(launches)}


class Torch(Program):
    """PyTorch: eager, compiled, or compiled with CUDA graphs; bfloat16 by autocast, attention by its fused kernels."""

    def __init__(self, place: Place, work: Workload, precision: str, kind: str) -> None:
        import torch

        from minitrain.benchmark.torch_gpt import GPT, adamw
        from minitrain.benchmark.torch_llama import Llama

        super().__init__(place, work, precision)
        torch.manual_seed(0)
        self.torch, self.graph = torch, kind == "graph"
        options = work.model()
        model = GPT(**options) if work.size.family == "gpt" else Llama(**options)
        self.model = model.to(place.torch_device)
        self.loss: Any = self.model.loss
        if kind != "eager":
            # Without a card only the first half of the compiler runs: the second takes minutes and shows nothing here.
            how = {"backend": "aot_eager"} if place.emulated else {"mode": "reduce-overhead"} if self.graph else {}
            self.loss = torch.compile(self.model.loss, **how)
        settings: dict[str, Any] = {"lr": LEARNING_RATE, "betas": BETAS, "weight_decay": WEIGHT_DECAY}
        self.optimizer = adamw(self.model, **settings, fused=True)

    def prepare(self, steps: int) -> None:
        """See `Program`."""
        there = self.place.torch_device
        self.batches = [[self.torch.from_numpy(x).to(there) for x in self.stream.next("int64")] for _ in range(steps)]

    def step(self) -> Any:
        """See `Program`."""
        torch, total = self.torch, 0.0
        self.optimizer.zero_grad(set_to_none=True)
        half = self.precision == "bfloat16"
        for inputs, targets in zip(*(x.chunk(self.parts) for x in self.batches.pop()), strict=True):
            if self.graph:
                torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(self.place.torch_device, torch.bfloat16) if half else contextlib.nullcontext():
                loss = self.loss(inputs, targets) / self.parts
            loss.backward()
            total = total + loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        return total

    def read(self, loss: Any) -> float:
        """See `Program`."""
        return float(loss.item())

    def rest(self) -> None:
        """See `Program`."""
        self.optimizer.zero_grad(set_to_none=True)
        if not self.place.emulated:
            self.torch.cuda.empty_cache()

    def memory(self) -> Reply:
        """See `Program`."""
        self.prepare(1)
        if self.place.emulated:
            self.step()
            return {"peak": None, "held": None, "kernels": None}
        cuda = self.torch.cuda
        cuda.reset_peak_memory_stats()
        self.step()
        cuda.synchronize()
        return {"peak": cuda.max_memory_allocated(), "held": cuda.max_memory_reserved(), "kernels": None}


def build(name: str, where: Place, work: Workload) -> Program:
    """The program called ``name``: one of ``KINDS`` and a precision."""
    kind, _, precision = name.rpartition(" ")
    if kind not in KINDS:
        raise ValueError(f"there is no program {kind!r}: choose from {', '.join(KINDS)}")
    if kind.startswith("minitrain"):
        attention = "cudnn" if kind.endswith("cudnn") else "own"
        return Minitrain(where, work, precision, graph=kind.endswith("graph"), attention=attention)
    return Torch(where, work, precision, kind)


def main() -> None:
    """Build the program named on the command line and serve it."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.programs")
    parser.add_argument("program")
    parser.add_argument("shape", choices=shapes.TRAINING)
    parser.add_argument("--emulated", action="store_true")
    arguments = parser.parse_args()
    with place(arguments.emulated) as where:
        program: Program

        def greet() -> Reply:
            nonlocal program
            program = build(arguments.program, where, shapes.training(arguments.shape, arguments.emulated))
            return {}

        def first() -> Reply:
            began = time.perf_counter()
            loss = program.first_step()
            used = program.memory()
            program.rest()
            return {"loss": loss, "parts": program.parts, "seconds": time.perf_counter() - began, **used}

        def run(count: str) -> Reply:
            steps = int(count)
            program.prepare(2 + steps)
            for _ in range(2):  # not timed: memory comes back
                loss = program.step()
            program.read(loss)
            where.wait()
            began = time.perf_counter()
            for _ in range(steps):
                loss = program.step()
            issued = time.perf_counter() - began
            last = program.read(loss)  # waits for all of them
            seconds = time.perf_counter() - began
            program.rest()
            return {"seconds": seconds / steps, "issued": issued / steps, "loss": last}

        serve(greet, {"first": first, "run": run})


def losses(program: Program, steps: int) -> list[float]:
    """The mean losses of so many steps from the program's present weights."""
    found = []
    for _ in range(steps):
        program.prepare(1)
        found.append(program.read(program.step()))
    return found


def copy_weights(source: Any, target: Any) -> None:
    """Give a PyTorch program the weights of a minitrain model."""
    from minitrain.benchmark.torch_gpt import load_from_minitrain

    load_from_minitrain(target, {name: np.asarray(to_numpy(value)) for name, value in source.state_dict().items()})


if __name__ == "__main__":
    main()
