"""``python -m benchmarks.gpu``: see the package."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from minitrain.backend.devices import gpu_status

from ..output import out_file
from .parts import PARTS
from .report import HERE, Report
from .running import Part, choose, run_part

MINUTES = 7.75
SLOWER = 8
"""Without a card, parts have so many times as long: the emulated one shares the CPU with whatever else runs there."""
SUMMARY = "Check and measure the GPU code on this machine's card; the report is written as results come."


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that the command line asks for; 1 if something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=SUMMARY)
    parser.add_argument("--part", help=f"some of {', '.join(part.name for part in PARTS)}, by commas (default: all)")
    parser.add_argument(
        "--minutes", type=float, help=f"for all parts together ({MINUTES}; emulated: {MINUTES * SLOWER:.0f})"
    )
    parser.add_argument("--emulated", action="store_true", help="without a card, tiny: shows that every part runs")
    parser.add_argument("--out", type=Path, help="folder of the report (benchmarks/gpu; emulated: benchmarks/out)")
    given = parser.parse_args(arguments)
    try:
        parts = choose(PARTS, given.part)
    except ValueError as error:
        parser.error(str(error))
    if not given.emulated and gpu_status()[0] is None:
        print(f"no GPU can be used: {gpu_status()[1]}. --emulated shows the report without one", file=sys.stderr)
        return 1
    report = Report(given.out or (out_file("gpu") if given.emulated else HERE), emulated=given.emulated)
    minutes = given.minutes or MINUTES * (SLOWER if given.emulated else 1)
    return run_parts(parts, report, seconds=60 * minutes, emulated=given.emulated)


def run_parts(parts: list[Part], report: Report, *, seconds: float, emulated: bool) -> int:
    """Run parts one after the other until the time is over; 1 if something in them went wrong."""
    until = time.monotonic() + seconds
    for part in parts:
        left = until - time.monotonic()
        if left < 5:
            report.finish(part.name, "not run", 0.0, "no time was left")
            report.write()
            continue
        print(f"{part.name}: {part.summary} …", flush=True)
        run_part(part, report, seconds=min(part.seconds * (SLOWER if emulated else 1), left), emulated=emulated)
        ended = report.parts[part.name]
        print(
            f"{part.name}: {ended['state']} after {ended['seconds']:.0f} s"
            + (f", {ended['why']}" if ended["why"] else "")
        )
    bad = report.bad()
    print(f"report: {report.paths[0]}, {len(bad)} lines say that something went wrong")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
