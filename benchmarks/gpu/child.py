"""The process of one part: ``python -m benchmarks.gpu.child contract '{}' FILE``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from . import events
from .place import place


def main() -> int:
    """Run the part; an error is the last line that is printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.child")
    parser.add_argument("module")
    parser.add_argument("options")
    parser.add_argument("events", type=Path)
    parser.add_argument("--emulated", action="store_true")
    arguments = parser.parse_args()
    events.write_to(arguments.events)
    try:
        name = arguments.module
        part = importlib.import_module(name if "." in name else f"benchmarks.gpu.parts.{name}")
        with place(arguments.emulated) as where:
            part.run(where, json.loads(arguments.options))
    except Exception as error:  # a part that fails is a line in the report
        print(events.brief(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
