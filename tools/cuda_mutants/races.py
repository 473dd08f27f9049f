"""Tries mutants in a build with ThreadSanitizer: it sees a missing barrier where the numbers happen to be right.

A sanitizer must be loaded before Python, so this is a program of its own: ``python -m tools.cuda_mutants.races UNIT``
reads mutants from its input and writes results, as lines of JSON.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.helpers.cuda.sanitized import command

from .trial import Result, try_unit
from .units import Unit, mutated_files, units

ROOT = Path(__file__).resolve().parents[2]


def races(unit: Unit, todo: Sequence[tuple[str, int]], until: float = math.inf) -> Iterator[Result]:
    """The mutants of ``todo`` that ThreadSanitizer notices; none where it cannot run."""
    if not todo or sys.platform != "linux" or shutil.which("setarch") is None:
        return
    line, environment = command("thread", __name__, unit.path, str(until - time.monotonic()))
    done = subprocess.run(
        line, cwd=ROOT, env=environment, input=json.dumps(todo), stdout=subprocess.PIPE, text=True, check=True
    )
    for answer in done.stdout.splitlines():
        result = Result(*json.loads(answer))
        if result.killer:
            yield result


def main() -> None:
    """See the module."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    unit = next(unit for unit in units() if unit.path == path)
    todo = [(path, number) for path, number in json.load(sys.stdin)]
    for result in try_unit(unit, mutated_files(), todo, 1, time.monotonic() + seconds, "thread"):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
