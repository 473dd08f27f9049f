"""Causal attention alone, forward and backward, against PyTorch's fused one: time and memory as sequences grow.

B=2, H=8, D=64. Lengths come in rising order in one process, so the most memory that it held after a length is what that
length took; a short sequence before them has the libraries and the compiled code loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minitrain.benchmark.ratios import Spread, fitted_exponent
from minitrain.benchmark.report import Table

from . import kernels
from .kernel_report import find
from .kernel_table import ATTENTION_LENGTHS, ROWS

ATTENTION = next(row for row in ROWS if row.op == "attention")  # the first one: causal, without a window
LABELS = {"twin": "minitrain", "torch": "PyTorch"}


def measure(*, rounds: int | None = None, threads: int | None = None, with_torch: bool = True) -> dict[str, Any]:
    """Time forward and backward at every length, and fit how memory grows.

    Raises:
        WorkerError: if a program does not run.
    """
    jobs = [(ATTENTION, f"T={T}") for T in (64, *ATTENTION_LENGTHS)]
    programs = ("twin", "torch") if with_torch else ("twin",)
    result = kernels.measure(jobs, programs, rounds=rounds or kernels.ROUNDS, threads=threads)
    return result | summarise(result)


def summarise(result: Mapping[str, Any]) -> dict[str, Any]:
    """Memory by program and length in MB, and the exponents in T."""
    lines = [find(result, "attention", f"T={T}", "both") for T in ATTENTION_LENGTHS]
    memory = [line["memory"] for line in lines if line is not None]
    growth = {}
    for name in memory[0]:
        if memory[0][name]["rss_before_mb"] is not None:
            before = memory[0][name]["rss_before_mb"]
            growth[name] = [at_length[name]["peak_rss_mb"] - before for at_length in memory]
    pool = [at_length["twin"]["pool_mb"] for at_length in memory]
    exponents = {name: fitted_exponent(ATTENTION_LENGTHS, values) for name, values in growth.items() if min(values) > 0}
    return {
        "lengths": list(ATTENTION_LENGTHS),
        "growth_mb": growth,
        "growth_exponents": exponents,
        "pool_mb": pool,
        "pool_exponent": fitted_exponent(ATTENTION_LENGTHS, pool),
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """A row for each length."""
    rows = []
    for i, T in enumerate(result["lengths"]):
        line = find(result, "attention", f"T={T}", "both")
        assert line is not None
        seconds, ratio = line["seconds"], line["ratios"].get("torch_to_twin")
        times = [f"{1e3 * seconds[name]:.2f}" if name in seconds else "" for name in LABELS]
        grown = [f"{result['growth_mb'][name][i]:.1f}" if name in result["growth_mb"] else "" for name in LABELS]
        rows.append([str(T), *times, str(Spread(**ratio)) if ratio else "", *grown, f"{result['pool_mb'][i]:.1f}"])
    columns = ["T", *(f"{label} ms" for label in LABELS.values()), "PyTorch / minitrain"]
    columns += [*(f"{label}: memory grown by MB" for label in LABELS.values()), "of it in the pool, at most MB"]
    return [Table("causal attention, forward and backward, B=2, H=8, D=64", columns, rows)]


def notes(result: Mapping[str, Any]) -> list[str]:
    """The fitted exponents, in a sentence."""
    grown = ", ".join(f"{LABELS[name]} {value:.2f}" for name, value in result["growth_exponents"].items())
    return [f"memory grows as a power of T: {grown or 'not known here'}; the pool alone {result['pool_exponent']:.2f}"]
