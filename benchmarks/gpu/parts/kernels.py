"""Where a step of GPT-2 124M spends its time: each kernel on the card, as PyTorch's profiler sees it (CUPTI).

It sees all kernels of a process, ours, cuBLASLt's and CuPy's. Without a card it sees none, and the launches of our own
kernels are listed instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from minitrain.backend.cuda.launch import record_launches

from .. import events, shapes
from ..place import Place
from ..programs import Program, build

MOST = 25
"""Kernels that are listed."""


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``."""
    work = shapes.training("gpt2", place.emulated)
    for name in ("minitrain bfloat16", "eager bfloat16"):
        title = f"A step of GPT-2 124M by kernels, {name}"
        program = build(name, place, work)
        program.first_step()
        with record_launches() as launches:
            found = profiled(program)
        if not found:
            counts = Counter(launch.name for launch in launches)
            for kernel, count in counts.most_common(MOST):
                events.row(title, kernel, launches=count)
            continue
        total = sum(seconds for _, seconds in found.values())
        launched = sum(count for count, _ in found.values())
        events.row(title, "all", launches=launched, ms=1000 * total, share=1.0)
        for kernel, (count, seconds) in sorted(found.items(), key=lambda item: -item[1][1])[:MOST]:
            events.row(title, kernel[:100], launches=count, ms=1000 * seconds, share=seconds / total)
        program.rest()


def profiled(program: Program) -> dict[str, tuple[int, float]]:
    """Launches and seconds of each kernel in one step, by its name; nothing where the profiler sees no card."""
    from torch.profiler import ProfilerActivity, profile

    program.prepare(1)
    activities = [ProfilerActivity.CPU] + ([] if program.place.emulated else [ProfilerActivity.CUDA])
    with profile(activities=activities) as seen:
        loss = program.step()
        program.read(loss)
    return by_kernel(seen.events())


def by_kernel(seen: Iterable[Any]) -> dict[str, tuple[int, float]]:
    """Launches and seconds by the kernel's name, of what a profiler saw on the card. Labelled ranges are no kernels."""
    found: dict[str, tuple[int, float]] = {}
    for event in seen:
        labelled = getattr(event, "is_user_annotation", False) or event.name.startswith(("Optimizer.", "ProfilerStep"))
        if "CUDA" in str(event.device_type) and not labelled:
            count, seconds = found.get(event.name, (0, 0.0))
            found[event.name] = count + 1, seconds + event.time_range.elapsed_us() / 1e6
    return found
