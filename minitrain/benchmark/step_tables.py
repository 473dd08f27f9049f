"""The results of a comparison of training steps, as tables and lines."""

from __future__ import annotations

from typing import Any

from .contestants import PEERS
from .ratios import Spread
from .report import Table, load_line, say, show
from .sizes import SIZES
from .train_step import Result

START_TIMES = ("first_step_seconds", "start_seconds", "cold_first_step_seconds", "cold_start_seconds")
COMPARISONS = {
    "same_precision": "the best of PyTorch in the same precision",
    "any_precision": "the best of PyTorch in any precision",
    "equal_instructions": "the same, all held to AVX2",
    "float32": "minitrain in float32",
}
SGEMM_LABELS = {"sgemm-minitrain": "minitrain's", "sgemm-numpy": "NumPy's", "sgemm-torch": "PyTorch's"}


def title_of(config: str) -> str:
    """The size in words."""
    size = SIZES[config]
    return (
        f"{config}: {size.n_layer} layers, {size.n_head} heads, width {size.n_embd}, "
        f"B={size.batch_size}, T={size.block_size}, V={size.vocab_size}"
    )


def show_result(result: Result) -> None:
    """Print all tables and lines."""
    for table in tables(result):
        show(table)
    for line in [*notes(result), summary(result)]:
        say(line)
    say(load_line(result["cores_used_by_others"]))


def tables(result: Result) -> list[Table]:
    """Speed, memory and page faults of every program, their start times, and what they are compared with."""
    return [_speed(result), _starts(result), *([_comparisons(result)] if result["comparisons"] else [])]


def _speed(result: Result) -> Table:
    columns = ["program", "tokens/s", "step ms", "of sgemm peak", "cores", "page faults", "peak MB"]
    against = [f"speed / {peer}'s" for peer in PEERS if peer in result["programs"]]
    rows = []
    for measured in result["programs"].values():
        ratios = measured.get("ratios", {})
        rows.append(
            [
                measured["label"],
                f"{measured['tokens_per_second']:,.0f}",
                f"{1e3 * measured['step_seconds']['median']:.1f}",
                f"{measured['efficiency']:.1%}",
                f"{measured['cores']:.2f}",
                _count(measured["page_faults"]),
                _count(measured["peak_rss_mb"]),
                *(str(Spread(**ratios[p])) if p in ratios else "" for p in PEERS if p in result["programs"]),
            ]
        )
    return Table(title_of(result["config"]), [*columns, *against], rows)


def _starts(result: Result) -> Table:
    columns = ["starting up", "import s", "first step s", "from start s", "cold: first step s", "cold: from start s"]
    rows = [
        [
            measured["label"],
            f"{measured['import_seconds']:.2f}",
            *(f"{measured[key]:.2f}" if key in measured else "" for key in START_TIMES),
            f"{measured['first_loss']:.3f} → {measured['last_loss']:.3f}",
        ]
        for measured in result["programs"].values()
    ]
    return Table("", [*columns, "loss"], rows)


def _comparisons(result: Result) -> Table:
    rows = []
    for key, found in result["comparisons"].items():
        programs = [result["programs"][found[side]]["label"] for side in ("ours", "other")]
        memory = "" if found["memory"] is None else f"{found['memory']:.2f}"
        rows.append([f"against {COMPARISONS[key]}", *programs, str(Spread(**found["ratio"])), memory])
    processor = f"{result['machine']['cpu']}, {result['instructions'] or 'neither AVX2 nor AVX-512'}"
    return Table(f"on {processor}", ["", "this", "that", "that time / this", "this memory / that"], rows)


def notes(result: Result) -> list[str]:
    """Notes on what took no part and why, and where columns are the same."""
    lines = [f"{name}: {why}" for name, why in result["failures"].items() if name in result["probes"]]
    if result["settings"]["equal_instructions"] and result["instructions"] == "AVX2":
        lines.append("equal instructions: this processor has AVX2 and nothing wider, so all figures above are that")
    return lines


def summary(result: Result) -> str:
    """The peak that efficiency is relative to, the library it comes from, and the share of PyTorch's memory."""
    others = ", ".join(
        f"{SGEMM_LABELS[name]} {gflops:.0f}" for name, gflops in result["sgemm_gflops_by_program"].items()
    )
    line = f"sgemm peak {result['sgemm_gflops']:.0f} GFLOP/s on {result['sgemm_cores']:.2f} cores ({others})"
    if blas := result["programs"][result["main"]]["blas"]:
        line += f"; minitrain multiplies with {blas}"
    if result["peak_rss_ratio"] is not None:
        line += f"; peak memory {result['peak_rss_ratio']:.2f} of PyTorch eager's"
    return line


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}"
