"""Tables of measured and predicted figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..benchmark.report import Table, load_line
from ..profiling.gpu import Shape
from .cluster import CLUSTERS, MEMORY, Cluster
from .sharding import STAGES, bytes_of_activations, bytes_of_states
from .step import Plan, efficiency, step_on

GPT2 = Shape(layers=12, width=768, vocabulary=50257, length=1024)
MODELS = {
    "124M": GPT2,
    "355M": Shape(layers=24, width=1024, vocabulary=50257, length=1024),
    "1.3B": Shape(layers=24, width=2048, vocabulary=50257, length=2048),
    "6.7B": Shape(layers=32, width=4096, vocabulary=50257, length=2048),
}
"""GPT-2's smallest and medium shape, and those that GPT-3's paper calls XL and 6.7B."""
RANKS = (1, 8, 64, 512, 4096)
TOLERANCE = 0.15
"""Share that a prediction may be off by."""


def measured(result: Mapping[str, Any]) -> list[Table]:
    """The costs of this machine, and predictions beside measurements."""
    costs = result["costs"]
    fitted = Table(
        f"costs of {result['size']} on {result['machine']['cpu']}, CPU seconds of one thread",
        ["", "ms", "what it is"],
        [
            ["a micro-batch", f"{1e3 * costs['micro_batch']:.2f}", "forward and backward"],
            ["an addition", f"{1e3 * costs['addition']:.3f}", f"of {costs['weights']:,} gradients to others"],
            ["an update", f"{1e3 * costs['update']:.2f}", "clipping, optimizer, callbacks, on each rank"],
            ["a megabyte", f"{1e9 * costs['byte']:.3f}", "sent, received and added"],
            ["a call", f"{1e3 * costs['call']:.4f}", f"of the group, {costs['calls']:.0f} in a step of each rank"],
            ["a message", f"{1e3 * costs['message']:.4f}", "from each rank to each other in a call"],
        ],
    )
    rows = []
    for row in result["rows"]:
        rows.append(
            [
                str(row["ranks"]),
                f"{1e3 * row['cpu_seconds']:.1f}",
                f"{1e3 * row['predicted_cpu_seconds']:.1f}",
                f"{row['predicted_cpu_seconds'] / row['cpu_seconds'] - 1:+.1%}",
                f"{row['bytes'] / 1e6:.3f}",
                f"{row['predicted_bytes'] / 1e6:.3f}",
                f"{1e3 * row['wall_seconds']:.0f}",
            ]
        )
    columns = ["ranks", "CPU ms", "predicted", "off by", "MB sent", "predicted", "ms of a step"]
    title = f"a step of {result['micro_batches']} micro-batches, all ranks together"
    return [fitted, Table(title, columns, rows)]


def verdict(result: Mapping[str, Any]) -> list[str]:
    """Whether the predictions hold, and how busy the machine was."""
    seconds = max(abs(row["predicted_cpu_seconds"] / row["cpu_seconds"] - 1) for row in result["rows"])
    sent = max(abs(row["predicted_bytes"] - row["bytes"]) / max(row["bytes"], 1.0) for row in result["rows"])
    kept = "within" if max(seconds, sent) <= TOLERANCE else "NOT within"
    line = f"predictions are {kept} {TOLERANCE:.0%}: CPU seconds are off by {seconds:.1%} at most, bytes by {sent:.2%}"
    noise = [
        f"a {name.replace('_', '-')} costs less than nothing, which is noise: give more --rounds on a quiet machine"
        for name in ("micro_batch", "addition", "update", "byte", "call", "message")
        if result["costs"][name] < 0
    ]
    return [line, *noise, load_line(result["cores_used_by_others"])]


def gpus(model: str, batch: int, cluster: str = "H100, InfiniBand", ranks: Sequence[int] = RANKS) -> Table:
    """Tokens per second and efficiency of a model on many GPUs, the same work for each, by the order of the sums."""
    rows = []
    for count in ranks:
        cells = [f"{count:,}"]
        for plan in (
            Plan(count, batch),
            Plan(count, batch, wire=2),
            Plan(count, batch, overlap=False),
            Plan(count, batch, algorithm="halving"),
            Plan(count, batch, algorithm="direct"),
        ):
            step = step_on(CLUSTERS[cluster], MODELS[model], plan)
            cells.append(
                f"{rounded(step.tokens_per_second)} ({efficiency(CLUSTERS[cluster], MODELS[model], plan):.0%})"
            )
        rows.append(cells)
    columns = ["GPUs", "NCCL", "bfloat16 on the wire", "no overlap", "same bytes, by halving", "same bytes, by owners"]
    return Table(f"tokens/s of {model}, {batch} sequences on each GPU; {cluster}", columns, rows)


def stages(model: str, batch: int, name: str, ranks: Sequence[int] = (8, 64, 512)) -> Table:
    """Memory and efficiency of each stage of ZeRO."""
    cluster: Cluster = CLUSTERS[name]
    shape, rows = MODELS[model], []
    for count in ranks:
        for stage in STAGES:
            plan = Plan(count, batch, micro_batches=4, stage=stage)
            need = bytes_of_states(shape.parameters, count, stage) + bytes_of_activations(shape, batch)
            fits = "" if need <= 0.9 * cluster.memory else ", does not fit"
            rows.append(
                [
                    f"{count}",
                    f"{stage}",
                    f"{need / 1e9:.1f} GB{fits}",
                    f"{step_on(cluster, shape, plan).sent / 1e9:.1f} GB",
                    f"{efficiency(cluster, shape, plan):.0%}",
                ]
            )
    columns = ["GPUs", "stage", "memory of a GPU", "sent by a GPU", "efficiency"]
    return Table(
        f"{model}, 4 micro-batches of {batch} on each GPU; {name}, {cluster.memory / 1e9:.0f} GB", columns, rows
    )


def limits(ranks: int = 64) -> Table:
    """The largest model whose weights, gradients and moments fill 90 % of a card, by stage; activations come on top."""
    rows = []
    for name, memory in MEMORY.items():
        sizes = [0.9 * memory / bytes_of_states(1.0, ranks, stage) for stage in STAGES]
        rows.append([f"{name}, {memory / 1e9:.0f} GB", *(f"{size / 1e9:.1f}" for size in sizes)])
    return Table(f"billions of weights that fit, {ranks} GPUs", ["", *(f"stage {stage}" for stage in STAGES)], rows)


def rounded(value: float) -> str:
    """A number with two digits that count."""
    return f"{float(f'{value:.2g}'):,.0f}"
