"""float32 products alone: minitrain's own against OpenBLAS, MKL and PyTorch, at the shapes of the four sizes.

    python -m benchmarks products

A linear layer multiplies in three forms: its forward (nt, the weight is transposed), the gradient of its input (nn) and
that of its weight (tn). minitrain's programs call the kernels of the linear layer with a BLAS each, PyTorch
``torch.mm``. They run in turn, each in its own process. One thread is measured by its CPU time, which other programs
on the machine disturb little, more threads by the clock.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from minitrain.backend.info import processor_name
from minitrain.benchmark.contestants import available
from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.ratios import geometric_mean, pairwise_ratio, spread
from minitrain.benchmark.report import Table, say
from minitrain.benchmark.sizes import SIZES, Size
from minitrain.benchmark.train_step import thread_settings
from minitrain.benchmark.turns import Reply, Worker, serve, take_turns
from minitrain.errors import WorkerError

PROGRAMS = ("own", "openblas", "mkl", "torch")
FORMS = ("nt", "nn", "tn")
THREADS = (1, 2)
ROUNDS = 7
PAUSE = 0.1  # seconds before a turn
BLOCK = 0.02  # seconds of repeated products that one figure comes from


class Product(NamedTuple):
    """C (m, n) = A (m, k) B (k, n), float32; the ``form`` says which of them is stored transposed."""

    size: str
    layer: str
    form: str
    m: int
    n: int
    k: int

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.m * self.n * self.k


def layers(size: Size) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the linear layers of a model, by name."""
    C, keys = size.n_embd, 2 * size.n_embd * (size.n_kv_head or size.n_head) // size.n_head
    return {
        "queries, keys, values": (C + keys, C),
        "attention's output": (C, C),
        "up": (size.hidden, C),
        "down": (C, size.hidden),
        "head": (size.vocab_size, C),
    }


def products() -> list[Product]:
    """All products of a training step, each kind once."""
    found = []
    for name, size in SIZES.items():
        for layer, (outputs, inputs) in layers(size).items():
            R = size.tokens
            shapes = {"nt": (R, outputs, inputs), "nn": (R, inputs, outputs), "tn": (outputs, inputs, R)}
            found += [Product(name, layer, form, *shapes[form]) for form in FORMS]
    return found


def operands(product: Product) -> tuple[Any, Any, Any]:
    """A and B as they are stored, and memory for C."""
    rng = np.random.default_rng(0)
    m, n, k = product.m, product.n, product.k
    a = rng.standard_normal((k, m) if product.form == "tn" else (m, k), np.float32)
    b = rng.standard_normal((n, k) if product.form == "nt" else (k, n), np.float32)
    return a, b, np.empty((m, n), np.float32)


def minitrain_product(product: Product, threads: int) -> Callable[[], object]:
    """The kernels of the linear layer."""
    from minitrain.kernels.cpu.linear import linear

    a, b, c = operands(product)
    none, row = np.empty((0, 0), np.float32), np.empty(0, np.float32)
    if product.form == "nt":
        return lambda: linear._forward(a, b, row, c, threads)
    if product.form == "nn":  # A is the gradient of the output, B the weight
        return lambda: linear._backward(a, none, b, a, c, 0.0, none, 0.0, row, 0.0, threads)
    return lambda: linear._backward(a, b, none, a, none, 0.0, c, 0.0, row, 0.0, threads)


def torch_product(product: Product, threads: int) -> Callable[[], object]:
    """PyTorch's ``mm``, on views of matrices that are stored transposed."""
    import torch

    torch.set_num_threads(threads)
    a, b, c = map(torch.from_numpy, operands(product))
    a, b = (a.T if product.form == "tn" else a), (b.T if product.form == "nt" else b)
    return lambda: torch.mm(a, b, out=c)


def serve_program(name: str) -> None:
    """The child's side: times the products that it is asked for."""
    make = torch_product if name == "torch" else minitrain_product
    calls: list[Callable[[], object]] = []

    def greet() -> Reply:
        if name == "torch":
            import torch

            return {"version": torch.__version__}
        from minitrain.backend.product_choice import in_use

        return {"version": str(in_use()["float32"])}

    def prepare(number: str, threads: str) -> Reply:
        calls[:] = [make(products()[int(number)], int(threads))]
        calls[0]()
        return {}

    def run(threads: str) -> Reply:
        clock = time.process_time if threads == "1" else time.perf_counter
        calls[0]()  # its matrices come back into the cache
        began, count = clock(), 0
        while count == 0 or clock() - began < BLOCK:
            calls[0]()
            count += 1
        return {"seconds": (clock() - began) / count}

    serve(greet, {"prepare": prepare, "run": run})


def measure(*, rounds: int | None = None, threads: int | None = None, with_torch: bool = True) -> dict[str, Any]:
    """Time every product with every program that is here.

    Args:
        rounds: turns of every program, for each product.
        threads: threads for every program; by default one, then two.
        with_torch: whether to time PyTorch too, if it is installed.

    Raises:
        WorkerError: if minitrain's own product does not run.
    """
    failures: dict[str, str] = {}
    peers = available(("torch",), failures) if with_torch else ()
    lines, versions = [], {}
    watch, cpu = OtherLoad(), 0.0
    with contextlib.ExitStack() as stack:
        workers = []
        for name in (*PROGRAMS[:-1], *peers):
            variables = {} if name == "torch" else {"MINITRAIN_BLAS": name, "MINITRAIN_KERNELS": "auto"}
            settings = thread_settings(max(THREADS) if threads is None else threads)
            try:
                worker = Worker(name, ["benchmarks.products", name], settings | variables)
            except WorkerError as error:
                if name == "own":
                    raise
                failures[name] = str(error).splitlines()[-1]
                continue
            workers.append(stack.enter_context(contextlib.closing(worker)))
            versions[name] = worker.greeting["version"]
        cpu -= sum(worker.greeting["cpu_seconds"] for worker in workers)
        for count in THREADS if threads is None else (threads,):
            for number, product in enumerate(products()):
                say(f"{product.size}, {product.layer}, {product.form}, threads: {count} …")
                for worker in workers:
                    worker.ask(f"prepare {number} {count}")
                lines.append(compare(product, count, take_turns(workers, f"run {count}", rounds or ROUNDS, PAUSE)))
        cpu += sum(worker.ask("run 1")["cpu_seconds"] for worker in workers)
    return {
        "lines": lines,
        "programs": versions,
        "failures": failures,
        "processor": processor_name(),
        "cores_used_by_others": watch.cores(cpu),
        "machine": describe(),
    }


def compare(product: Product, threads: int, replies: Mapping[str, list[Reply]]) -> dict[str, Any]:
    """One line of the result: GFLOP/s of each program, and minitrain's own over the best of the others."""
    seconds = {name: [reply["seconds"] for reply in turns] for name, turns in replies.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    others = {name: value for name, value in medians.items() if name != "own"}
    best = min(others, key=others.__getitem__) if others else None
    return {
        **product._asdict(),
        "threads": threads,
        "gflops": {name: product.flops / value / 1e9 for name, value in medians.items()},
        "best_other": best,
        "ratio": None if best is None else pairwise_ratio(seconds[best], seconds["own"])._asdict(),
        "quartiles": {name: spread(times)._asdict() for name, times in seconds.items()},
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """A table of all products for each number of threads, and the means of each size."""
    names, found = list(result["programs"]), []
    for threads in sorted({line["threads"] for line in result["lines"]}):
        lines = [line for line in result["lines"] if line["threads"] == threads]
        rows = []
        for line in lines:
            shape = f"{line['m']} x {line['n']} x {line['k']}"
            speeds = [f"{line['gflops'][name]:.1f}" for name in names]
            ratio = "" if line["ratio"] is None else f"{line['ratio']['median']:.2f}"
            rows.append([line["size"], line["layer"], line["form"], shape, *speeds, ratio])
        title = f"float32 products, GFLOP/s, {result['processor']}, threads: {threads}"
        columns = ["size", "layer", "form", "m x n x k", *names, "own / best other"]
        found.append(Table(title, columns, rows))
    return found


def notes(result: Mapping[str, Any]) -> list[str]:
    """Geometric mean and lowest ratio for each number of threads and size; the programs' versions."""
    said = []
    for threads in sorted({line["threads"] for line in result["lines"]}):
        lines = [line for line in result["lines"] if line["threads"] == threads and line["ratio"] is not None]
        groups = {"all": lines} | {size: [line for line in lines if line["size"] == size] for size in SIZES}
        parts = [
            f"{name} {geometric_mean([line['ratio']['median'] for line in group]):.2f}, "
            f"lowest {min(line['ratio']['median'] for line in group):.2f}"
            for name, group in groups.items()
            if group
        ]
        said.append(f"own over the best other, threads: {threads}, geometric means: {'; '.join(parts)}")
    said.append(", ".join(f"{name}: {version}" for name, version in result["programs"].items()))
    return said + [f"{name} was not measured: {why}" for name, why in result["failures"].items()]


if __name__ == "__main__":
    serve_program(sys.argv[1])
