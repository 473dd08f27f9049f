"""The result of a comparison: minitrain against the best of PyTorch, and one precision against the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .contestants import Contestant
from .ratios import pairwise_ratio

Figures = dict[str, Any]
Times = Mapping[str, Sequence[float]]


def compared(programs: Mapping[str, Figures], seconds: Times, running: Sequence[Contestant]) -> dict[str, Figures]:
    """Ratios between the programs that ran, by what is compared.

    Args:
        programs: their figures by name; ``peak_rss_mb`` and ``pool_peak_mb`` are used.
        seconds: seconds of a step by name, one number for each round.
        running: who ran, the program that the comparison is about first.

    Returns:
        Any of ``same_precision`` (against the best of PyTorch in that precision), ``any_precision`` (against the best
        of all), ``equal_instructions`` (the same where all are held to AVX2), ``float32`` (against minitrain in
        float32). Each has the names of both, ``ratio`` (the other's time over ours), and ``memory`` (ours over the
        other's), ``None`` where the system does not tell.
    """
    main = running[0]
    found: dict[str, Figures] = {}

    def against_best(key: str, ours: Contestant, counts: Callable[[Contestant], bool]) -> None:
        rivals = [one.name for one in running if not one.ours and one.masked == ours.masked and counts(one)]
        if rivals:
            # The fastest rival has the lowest median ratio.
            best = min(rivals, key=lambda rival: pairwise_ratio(seconds[rival], seconds[ours.name]))
            found[key] = comparison(ours.name, best, programs, seconds)

    against_best("same_precision", main, lambda one: one.precision == main.precision)
    against_best("any_precision", main, lambda one: True)
    for held in running:
        if held.ours and held.masked and held.precision == main.precision:
            against_best("equal_instructions", held, lambda one: True)
    if main.precision != "float32":
        found["float32"] = comparison(main.name, main._replace(precision="float32").name, programs, seconds)
        pools = [programs[name]["pool_peak_mb"] for name in (found["float32"]["ours"], found["float32"]["other"])]
        found["float32"]["pool_memory"] = pools[0] / pools[1] if all(pools) else None
    return found


def comparison(ours: str, other: str, programs: Mapping[str, Figures], seconds: Times) -> Figures:
    """One comparison: see `compared`."""
    memory = [programs[name]["peak_rss_mb"] for name in (ours, other)]
    return {
        "ours": ours,
        "other": other,
        "ratio": pairwise_ratio(seconds[other], seconds[ours])._asdict(),
        "memory": memory[0] / memory[1] if None not in memory else None,
    }
