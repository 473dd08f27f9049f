"""A training step of minitrain against PyTorch: the measuring of ``minitrain bench``, with a choice of peers.

    python -m benchmarks.train_step --config char --json out.json
    python -m benchmarks.train_step --config baby --precision bfloat16

Where the processor has AVX-512, all programs also run held to AVX2, so that both sides have the same instructions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minitrain.benchmark.contestants import PEERS, PRECISIONS
from minitrain.benchmark.machine import held_back
from minitrain.benchmark.report import say, write_json
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.step_tables import show_result
from minitrain.benchmark.train_step import measure
from minitrain.errors import WorkerError

from .output import out_file

SUMMARY = "Compare a training step of minitrain with PyTorch and with the machine's own limit."


def main() -> int:
    """Measure one size, print the tables and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=SUMMARY)
    parser.add_argument("--config", choices=SIZES, default="char")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the operands of products")
    parser.add_argument("--own-instructions", action="store_true", help="with AVX-512: leave out the runs with AVX2")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--rounds", type=int, help="turns of every program")
    parser.add_argument("--steps", type=int, help="training steps a turn")
    parser.add_argument("--peers", default=",".join(PEERS), help="PyTorch programs to compare with")
    parser.add_argument("--no-torch", action="store_true", help="measure minitrain alone")
    parser.add_argument("--threads", type=int, help="threads for every program")
    arguments = parser.parse_args()
    peers = () if arguments.no_torch else tuple(filter(None, arguments.peers.split(",")))
    if unknown := set(peers) - set(PEERS):
        parser.error(f"unknown peers {sorted(unknown)}: choose from {', '.join(PEERS)}")
    if line := held_back():
        say(line)
    try:
        result = measure(
            arguments.config,
            rounds=arguments.rounds,
            steps=arguments.steps,
            peers=peers,
            threads=arguments.threads,
            precision=arguments.precision,
            equal_instructions=not arguments.own_instructions,
        )
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    show_result(result)
    suffix = "" if arguments.precision == "float32" else f"_{arguments.precision}"
    path = write_json(arguments.json or out_file(f"train_step_{arguments.config}{suffix}.json"), result)
    say(f"figures written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
