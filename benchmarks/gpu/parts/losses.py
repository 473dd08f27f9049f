"""Losses of 200 steps of GPT-2 124M on the card, beside PyTorch in bfloat16 and our own float32 reference on a CPU.

The reference took minutes on a CPU, so its losses are in a file: ``python -m benchmarks.gpu.reference`` made them.
"""

from __future__ import annotations

import contextlib
from typing import Any

from .. import events, shapes, targets
from ..place import Place
from ..programs import Minitrain, Torch, copy_weights, losses
from ..reference import reference

TITLE = "Losses of 200 steps of GPT-2 124M"
LATEST = 20
"""Steps whose mean is compared: the losses of single small batches vary more than what is looked for."""


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``."""
    work = shapes.losses(place.emulated)
    steps = work.size.steps
    found: dict[str, list[float]] = {}
    with reported("our reference, float32, CPU"):
        found["our reference, float32, CPU"] = reference(place.emulated)
    ours: Any = None
    for precision in ("bfloat16", "float32"):
        with reported(f"minitrain {precision}"):
            ours = Minitrain(place, work, precision)
            if precision == "bfloat16":
                start = {name: value.copy() for name, value in ours.model.state_dict().items()}
            found[f"minitrain {precision}"] = losses(ours, steps)
    with reported("PyTorch bfloat16"):
        torch = Torch(place, work, "bfloat16", "eager")
        fresh = Minitrain(place, work, "bfloat16").model
        fresh.load_state_dict(start)
        copy_weights(fresh, torch.model)
        found["PyTorch bfloat16"] = losses(torch, steps)
    compare(found)


@contextlib.contextmanager
def reported(program: str) -> Any:
    """A program that fails is a line in the table."""
    try:
        yield
    except Exception as error:
        events.row(TITLE, program, result=f"fails: {events.brief(error)}")


def compare(found: dict[str, list[float]]) -> None:
    """The table: losses at some steps, the mean of the latest ones, and its distance from the others'."""
    means = {name: sum(values[-LATEST:]) / len(values[-LATEST:]) for name, values in found.items()}
    for name, values in found.items():
        marks = sorted({0, len(values) // 4, len(values) // 2, len(values) - 1})
        cells: dict[str, Any] = {f"step {i + 1}": values[i] for i in marks}
        cells[f"mean of the last {LATEST}"] = means[name]
        if name.startswith("minitrain"):
            for other in ("our reference, float32, CPU", "PyTorch bfloat16"):
                if other in means:
                    cells[f"% above {other}"] = 100 * (means[name] / means[other] - 1)
            cells["reach"] = targets.REACH["losses"]
        events.row(TITLE, name, result="runs", **cells)
