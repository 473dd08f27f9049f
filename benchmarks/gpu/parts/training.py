"""Training steps, programs in turn on the same card."""

from __future__ import annotations

import contextlib
from typing import Any

from minitrain.benchmark.ratios import pairwise_ratio
from minitrain.benchmark.sizes import FLOPS_FORMULA
from minitrain.benchmark.turns import Reply, Worker

from .. import events, shapes, targets
from ..place import Place
from ..shapes import Workload

GIB = 1 << 30


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``; the option ``shape`` names the workload."""
    name = options["shape"]
    work = shapes.training(name, place.emulated)
    title = title_of(name, work)
    card = targets.card_of(place.cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())
    for program in (*work.ours, *work.rivals):
        events.row(title, program, **expected(name, program, card))
    say_formula(work, card)
    place.give_back()
    with contextlib.ExitStack() as stack:
        workers = []
        for program in (*work.ours, *work.rivals):
            if (worker := started(program, name, title, place.emulated)) is not None:
                workers.append(stack.enter_context(contextlib.closing(worker)))
        measure(title, work, workers, card)


def title_of(name: str, work: Workload) -> str:
    """The table's title: the workload and its size."""
    size = work.size
    return (
        f"Training, {name}: {size.n_layer} layers, width {size.n_embd}, {size.vocab_size:,} tokens, "
        f"B x T = {size.batch_size} x {size.block_size}"
    )


def expected(name: str, program: str, card: Any) -> dict[str, Any]:
    """The cells that are known before: what is to be reached, and the prediction."""
    kind, _, precision = program.rpartition(" ")
    cells: dict[str, Any] = {"tokens/s": None, "predicted tokens/s": None}
    if kind.startswith("minitrain"):
        if card is not None and not kind.endswith("cudnn"):  # the model knows our own attention
            seconds = targets.predicted_step(name, card, precision, graph=kind.endswith("graph"))
            cells["predicted tokens/s"] = None if seconds is None else shapes.TRAINING[name].size.tokens / seconds
        cells |= {"reach": targets.REACH.get(name), "stretch": targets.STRETCH.get(name)}
    return cells


def say_formula(work: Workload, card: Any) -> None:
    """The formula behind the share of the peak, and the peak."""
    events.say(f"Operations of a step: {work.flops_of_a_step / 1e12:.4g} TFLOP = {FLOPS_FORMULA}.")
    if card is None:
        events.say("The published limits of this card are not known here, so no share of the peak is given.")
    else:
        events.say(
            f"Peak of {card.name}: {card.half / 1e12:.0f} TFLOP/s in bfloat16, {card.single / 1e12:.0f} in float32 "
            f"({card.source}); a share of it is the operations of a step, divided by its seconds and the peak."
        )


def started(program: str, name: str, title: str, emulated: bool) -> Worker | None:
    """A program after its first step; ``None`` if it does not run, which the table then says."""
    arguments = ["benchmarks.gpu.programs", program, name] + (["--emulated"] if emulated else [])
    worker = None
    try:
        worker = Worker(program, arguments, timeout=400 if emulated else 100)
        first = worker.ask("first")
    except Exception as error:
        if worker is not None:
            worker.close()
        events.row(title, program, result=f"fails: {events.brief(error)}")
        return None
    cells: dict[str, Any] = {
        "first loss": first["loss"],
        "seconds of the first step": first["seconds"],
        "peak GiB": first["peak"] and first["peak"] / GIB,
        "held GiB": first["held"] and first["held"] / GIB,
        "launches of own kernels": first["kernels"],
        "result": "runs" if first["parts"] == 1 else f"runs in {first['parts']} parts: the card is full otherwise",
    }
    events.row(title, program, **cells)
    return worker


def measure(title: str, work: Workload, workers: list[Worker], card: Any) -> None:
    """Rounds of turns; the table is up to date after each."""
    replies: dict[str, list[Reply]] = {worker.name: [] for worker in workers}
    for _ in range(work.size.rounds):
        for worker in list(workers):
            try:
                replies[worker.name].append(worker.ask(f"run {work.size.steps}"))
            except Exception as error:
                events.row(
                    title, worker.name, result=f"fails in round {len(replies[worker.name]) + 1}: {events.brief(error)}"
                )
                workers.remove(worker)
                del replies[worker.name]
        for name in replies:
            events.row(title, name, **figures(name, work, replies, card))


def figures(name: str, work: Workload, replies: dict[str, list[Reply]], card: Any) -> dict[str, Any]:
    """The measured cells of a program after some rounds."""
    seconds = {other: [reply["seconds"] for reply in turns] for other, turns in replies.items()}
    middle = sorted(seconds[name])[len(seconds[name]) // 2]
    cells: dict[str, Any] = {"tokens/s": work.size.tokens / middle, "ms a step": 1000 * middle}
    if card is not None:
        cells["share of peak"] = work.flops_of_a_step / middle / card.rate(name.rpartition(" ")[2])
    issued = [reply["issued"] for reply in replies[name]]
    cells |= {"ms to issue": 1000 * sorted(issued)[len(issued) // 2], "last loss": replies[name][-1]["loss"]}
    if name in work.ours:
        for rival in work.rivals:
            if rival in seconds:
                ratio = pairwise_ratio(seconds[rival], seconds[name])
                cells[f"times as fast as {rival}"] = str(ratio)
    cells["rounds"] = len(issued)
    return cells
