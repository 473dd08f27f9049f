"""Greedy decoding in SmolLM2-135M's shape at batch 1 and 64, against transformers in turn on the same card."""

from __future__ import annotations

import contextlib
from typing import Any

from minitrain.benchmark.ratios import pairwise_ratio
from minitrain.benchmark.turns import Worker

from .. import events, shapes, targets
from ..place import Place
from ..writers import PROGRAMS

ROUNDS = 3


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``."""
    work = shapes.decoding(place.emulated)
    card = targets.card_of(place.cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())
    events.say(
        f"{weights_of(work.model):,} weights of matrices are read for a token of each sequence: the share of the "
        "bandwidth is their bytes (4 each in float32, 2 in bfloat16), divided by the seconds of a token and the "
        "published bandwidth"
        + (f" of {card.name}, {card.bandwidth / 1e12:.2f} TB/s." if card else ", which is not known for this card.")
    )
    for batch in work.batches:
        at_batch(work, batch, place.emulated, card)


def weights_of(m: dict[str, Any]) -> int:
    """Weights of the matrices that each token is multiplied with, the head's included."""
    heads = m["n_embd"] // m["n_head"]
    block = m["n_embd"] * (2 * m["n_embd"] + 2 * m["n_kv_head"] * heads + 3 * m["n_hidden"])
    return int(m["n_layer"] * block + m["vocab_size"] * m["n_embd"])


def at_batch(work: shapes.Decoding, batch: int, emulated: bool, card: Any) -> None:
    """The table of one number of sequences."""
    title = f"Decoding, {batch} at once: {work.new} tokens after {work.prompt}"
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in PROGRAMS:
            events.row(title, name, **{"tokens/s": None, **expected(name, batch, card)})
            arguments = ["benchmarks.gpu.writers", name, str(batch)] + (["--emulated"] if emulated else [])
            try:
                worker = Worker(name, arguments, timeout=400 if emulated else 60)
                workers[name] = stack.enter_context(contextlib.closing(worker))
            except Exception as error:
                events.row(title, name, result=f"fails: {events.brief(error)}")
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(ROUNDS):
            for name, worker in list(workers.items()):
                try:
                    seconds[name].append(worker.ask("run")["seconds"])
                except Exception as error:
                    events.row(title, name, result=f"fails: {events.brief(error)}")
                    del workers[name], seconds[name]
            for name in workers:
                events.row(title, name, **figures(name, work, batch, seconds, card))


def expected(name: str, batch: int, card: Any) -> dict[str, Any]:
    """The cells that are known before."""
    if not name.startswith("minitrain"):
        return {}
    predicted = batch / targets.predicted_token(card, batch, graph=True) if card and name.endswith("float32") else None
    reach = {"reach": targets.REACH["decoding"], "stretch": targets.STRETCH["decoding"]}
    return {"predicted tokens/s, as a graph": predicted, **reach}


def figures(name: str, work: shapes.Decoding, batch: int, seconds: dict[str, list[float]], card: Any) -> dict[str, Any]:
    """The measured cells of a program."""
    middle = sorted(seconds[name])[len(seconds[name]) // 2] / work.new
    cells: dict[str, Any] = {"tokens/s": batch / middle, "ms a token": 1000 * middle, "result": "runs"}
    if card is not None:
        size = 4 if name == "minitrain float32" else 2
        cells["share of bandwidth"] = size * weights_of(work.model) / middle / card.bandwidth
    if name.startswith("minitrain"):
        for rival in ("transformers eager", "transformers compiled"):
            if rival in seconds:
                cells[f"times as fast as {rival}"] = str(pairwise_ratio(seconds[rival], seconds[name]))
    return cells
