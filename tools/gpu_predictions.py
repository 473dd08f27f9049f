"""Rewrites the tables of predictions in ``docs/performance.md`` from ``minitrain.profiling.gpu``.

python -m tools.gpu_predictions           # prints them
python -m tools.gpu_predictions --write   # writes them into the page; a test compares the two
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minitrain.profiling.gpu import CARDS, Kernel, LlamaShape, Shape, decoding_step, llama_step, predict, training_step
from minitrain.profiling.gpu.predict import DEFAULT, kernel_seconds

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
REGION = re.compile(r"(?<=<!-- gpu predictions -->\n).*?(?=<!-- end of gpu predictions -->)", re.DOTALL)

GPT2 = Shape(layers=12, width=768, vocabulary=50257, length=1024)
BABY = Shape(layers=6, width=384, vocabulary=65, length=256)
LLAMA = LlamaShape(layers=12, width=768, vocabulary=32000, length=1024, key_width=256, hidden=2048)
CHAR = Shape(layers=4, width=128, vocabulary=65, length=64)


def row(cells: Iterable[object]) -> str:
    """A row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def table(head: list[str], rows: Iterable[list[object]]) -> str:
    """A table in Markdown."""
    return "\n".join([row(head), "|" + "---|" * len(head), *map(row, rows)])


def training_table() -> str:
    """Tokens per second of four models on each card."""
    cases: list[tuple[str, Shape | LlamaShape, int, bool]] = [
        ("GPT-2 124M, 64 x 1024", GPT2, 64, False),
        ("the same, feed-forward in float8", GPT2, 64, False),
        ("Llama 124M, 64 x 1024", LLAMA, 64, False),
        ("the same, feed-forward in float8", LLAMA, 64, False),
        ("`baby`, 64 x 256", BABY, 64, False),
        ("`char`, 12 x 64", CHAR, 12, False),
        ("`char`, one graph", CHAR, 12, True),
    ]
    rows: list[list[object]] = []
    for name, shape, batch, graph in cases:
        step: Any = llama_step if isinstance(shape, LlamaShape) else training_step
        float8 = name.endswith("float8")
        kernels = step(shape, batch, float8=float8)
        tokens = batch * shape.length
        cards = [card if card.float8 or not float8 else None for card in CARDS.values()]
        found = [card and predict(kernels, card, "bfloat16", graph=graph) for card in cards]
        launches = sum(kernel.launches for kernel in kernels)
        rows.append([name, launches, *(f"{rounded(tokens / p.seconds):,}" if p else "–" for p in found)])
        if batch * shape.length == 64 * 1024 and not float8:  # the two large ones
            peaks = [card.half for card in CARDS.values()]
            shares = [shape.flops(tokens) / p.seconds / peak for p, peak in zip(found, peaks, strict=True) if p]
            rows.append(["its share of the peak, by 6 N + 6 L C T", "", *(f"{share:.0%}" for share in shares)])
    return table(["tokens per second, bfloat16", "launches", *(card.name for card in CARDS.values())], rows)


def decoding_table() -> str:
    """Tokens per second of decoding on each card."""
    rows: list[list[object]] = []
    for batch in (1, 64):
        for graph in (False, True):
            kernels = decoding_step(GPT2, batch, 512)
            found = [predict(kernels, card, "tf32", graph=graph) for card in CARDS.values()]
            name = f"batch {batch}, {'one graph' if graph else 'single launches'}"
            rows.append([name, found[0].launches, *(f"{rounded(batch / p.seconds):,}" for p in found)])
    return table(
        ["decoding, 124M, float32 weights, 512 keys", "launches", *(card.name for card in CARDS.values())], rows
    )


def where_time_goes() -> str:
    """The kernels that take most of a step of GPT-2 on an H100."""
    seconds, in_float8 = (grouped(training_step(GPT2, 64, float8=float8)) for float8 in (False, True))
    total = sum(seconds.values())
    order = sorted(seconds.items(), key=lambda item: -item[1])
    rows: list[list[object]] = [
        [name, f"{1e3 * time:.1f}", f"{time / total:.0%}", f"{1e3 * in_float8.get(name, 0):.1f}"]
        for name, time in order
        if time > total / 50
    ]
    rows.append(["all", f"{1e3 * total:.1f}", "", f"{1e3 * sum(in_float8.values()):.1f}"])
    return table(["GPT-2 on an H100", "ms of a step", "share", "ms with feed-forward in float8"], rows)


def grouped(kernels: Iterable[Kernel]) -> dict[str, float]:
    """Seconds on an H100 of each group of kernels."""
    seconds: dict[str, float] = {}
    for kernel in kernels:
        name = group(kernel)
        seconds[name] = seconds.get(name, 0) + kernel_seconds(kernel, CARDS["H100"], "bfloat16")
    return seconds


def group(kernel: Kernel) -> str:
    """The name of a kernel's group."""
    if kernel.kind in ("product", "float8"):
        return "products"
    return "rounding operands" if kernel.name.startswith("round") else kernel.name


def rounded(number: float) -> int:
    """Two digits: a prediction has no more."""
    digits = len(str(int(number))) - 2
    return round(number / 10**digits) * 10**digits


def text() -> str:
    """All tables."""
    limits = table(
        ["published", "bfloat16, TFLOP/s", "float8", "TF32", "memory, GB/s", "source"],
        [
            [
                c.name,
                f"{c.half / 1e12:.0f}",
                f"{c.float8 / 1e12:.0f}" if c.float8 else "–",
                f"{c.tf32 / 1e12:.0f}",
                f"{c.bandwidth / 1e9:.0f}",
                c.source,
            ]
            for c in CARDS.values()
        ],
    )
    kernel, launch, graph = (1e6 * x for x in DEFAULT[3:])
    assumed = (
        f"Assumed, not measured: large products reach {DEFAULT.product:.0%} of the published rate, our attention "
        f"{DEFAULT.attention:.0%}, and all other kernels {DEFAULT.bandwidth:.0%} of the bandwidth.\nA kernel takes at "
        f"least {kernel:g} microseconds more than its work, {graph:g} in a graph. Its launch from Python takes the "
        f"host {launch:g}."
    )
    return "\n\n".join(["", training_table(), decoding_table(), where_time_goes(), limits, assumed, ""])


def main() -> None:
    """Print the tables, or write them into the page."""
    if "--write" in sys.argv[1:]:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(REGION.sub(lambda _: text(), page), encoding="utf-8")
    else:
        print(text())


if __name__ == "__main__":
    main()
