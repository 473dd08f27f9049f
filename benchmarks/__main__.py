"""All benchmarks, ``python -m benchmarks``: tables to the screen, figures to ``benchmarks/out/*.json``."""

from __future__ import annotations

import argparse
import sys

from . import kernels, train_step
from .kernel_table import ROWS
from .report import write_json
from .sizes import SIZES
from .turns import WorkerError


def main() -> int:
    """A training step at every size, then every kernel."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--no-torch", action="store_true", help="measure minitrain alone")
    parser.add_argument("--rounds", type=int, help="turns of every program")
    parser.add_argument("--threads", type=int, help="threads for every program")
    arguments = parser.parse_args()
    peers = () if arguments.no_torch else train_step.PEERS
    try:
        for config in SIZES:
            result = train_step.measure(config, rounds=arguments.rounds, peers=peers, threads=arguments.threads)
            train_step.print_result(result)
            write_json(None, f"train_step_{config}", result)
        twins = kernels.measure(
            ("char", "baby"),
            ROWS,
            rounds=arguments.rounds or kernels.ROUNDS,
            with_torch=not arguments.no_torch,
            threads=arguments.threads,
        )
        kernels.print_result(twins)
        write_json(None, "kernels", twins)
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
