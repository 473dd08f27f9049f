"""Whether runs differ by more than the noise of their held-out samples, from what ``minitrain eval`` kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import MinitrainError
from ...folder import RunFolder
from ...folder.names import EVALUATION
from ...formats import one_line
from ...measures import Difference, SampleTable, compare_samples, holm

LEVEL = 0.95


@dataclass(frozen=True)
class Noise:
    """Paired tests of runs against the first of them.

    Attributes:
        first: the name of the run that the others are compared with; empty if no two runs were evaluated.
        differences: by the name of a measure, then of a run. Their ``p`` are adjusted to the number of runs.
        left_out: why a run could not be compared, by its name.
    """

    first: str = ""
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """A table for the screen."""
        if not self.first:
            return "noise       unknown: minitrain eval RUN, for each run, keeps what is needed to tell it"
        lines = []
        for measure, runs in self.differences.items():
            lines.append(f"{measure}, difference from {one_line(self.first)} on the same held-out samples")
            for run, found in runs.items():
                verdict = "more than noise" if found.p < 1 - LEVEL else "within noise"
                lines.append(
                    f"  {one_line(run):<28}{found.difference:>+12.5f}   {100 * LEVEL:.0f} % interval "
                    f"{found.low:+.5f} to {found.high:+.5f}   p = {found.p:.4f}   {verdict}"
                )
        lines += [f"  {one_line(run):<28}not compared: {reason}" for run, reason in self.left_out.items()]
        return "\n".join(lines)


def compare_evaluations(run_dirs: Sequence[str | Path], *, resamples: int = 2000, seed: int = 0) -> Noise:
    """Test whether runs differ from the first that was evaluated by more than the noise of their samples.

    The tests are those of `compare_samples`. With several runs, their p values are adjusted by Holm's method. They say
    nothing of seeds: another seed may change more than the noise of the samples.

    Args:
        run_dirs: run folders; those without an evaluation are left out and named.
        resamples: see `compare_samples`.
        seed: of the resampling.
    """
    tables: dict[str, SampleTable] = {}
    left_out = {}
    for folder in map(RunFolder, run_dirs):
        name = folder.path.resolve().name
        name = name if name not in tables and name not in left_out else str(folder.path)
        try:
            if folder.exists(EVALUATION):
                tables[name] = SampleTable.load(folder.file(EVALUATION))
            else:
                left_out[name] = "it was not evaluated; minitrain eval does so"
        except MinitrainError as error:
            left_out[name] = str(error)
    if len(tables) < 2:
        return Noise(left_out=left_out)
    first, *others = tables
    differences: dict[str, dict[str, Difference]] = {}
    for name in others:
        try:
            found = compare_samples(tables[first], tables[name], level=LEVEL, resamples=resamples, seed=seed)
        except MinitrainError as error:
            left_out[name] = str(error)
            continue
        for measure, difference in found.items():
            differences.setdefault(measure, {})[name] = difference
    for measure, runs in differences.items():
        adjusted = holm(one.p for one in runs.values())
        pairs = zip(runs.items(), adjusted, strict=True)
        differences[measure] = {name: one._replace(p=p) for (name, one), p in pairs}
    return Noise(first, differences, left_out)
