"""``minitrain bench``: how fast this machine trains, against PyTorch where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .arguments import Parser, UsageError
from .failures import warn

_EPILOG = """\
The sizes:
{sizes}

All programs train the same model on the same made-up tokens: AdamW, gradients clipped to norm 1. Each runs in a process
of its own, and they take turns, so that all meet the same machine. What is told is the median over the
rounds of ratios within a round, with the quartiles. "Of sgemm peak" is the useful arithmetic of a step over what the
fastest matrix product found here (minitrain's, NumPy's or PyTorch's) would do in that time. The first start of
minitrain and of compiled PyTorch finds no compiled code, as on a new machine: that takes most of a minute.

With --precision bfloat16, minitrain and PyTorch (autocast) run in both precisions. PyTorch may be hundreds of times
slower in bfloat16 where the processor has no units for it: a small step finds that out, and such a program is left out.

Leave the machine alone meanwhile: the last line says how busy something else kept it.

examples:
  minitrain bench                          the small model, about two minutes with PyTorch
  minitrain bench --config all             every size, about fifteen minutes
  minitrain bench --threads 1 --rounds 5
  minitrain bench --config baby --precision bfloat16
  minitrain bench --scaling                1, 2, 4 and 8 ranks here, and what GPUs should do (ten minutes)

exit codes: 0 done, 1 minitrain did not run, 2 something to correct in what was asked"""


def run(argv: Sequence[str]) -> int:
    """Measure what ``argv`` asks for, print the tables, write the results and the chart; returns the exit code."""
    from ..benchmark.contestants import PRECISIONS
    from ..benchmark.sizes import SIZES
    from ..benchmark.step_tables import title_of

    parser = Parser(
        "bench",
        description="Measure training steps on this machine, against PyTorch eager and compiled if it is installed.",
        epilog=_EPILOG.format(sizes="\n".join(f"  {title_of(name)}" for name in SIZES)),
    )
    parser.add_argument("--config", choices=(*SIZES, "all"), default="char", help="the size to train (char)")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of every program (by size, 7 to 15)")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps a turn (by size, 2 to 20)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of every program (each one's own choice)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of the operands of products (%(default)s)"
    )
    parser.add_argument(
        "--equal-instructions",
        action="store_true",
        help="with AVX-512: also run every program held to AVX2, which takes twice as long",
    )
    parser.add_argument("--no-torch", action="store_true", help="train minitrain alone")
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="measure minitrain on several ranks of this machine instead, and compare with a model of it",
    )
    parser.add_argument("--ranks", metavar="N,N", help="with --scaling: how many (1,2,4,8)")
    parser.add_argument(
        "--out", default="bench", metavar="FOLDER", help="folder for bench.json and bench.png (%(default)s)"
    )
    arguments = parser.parse_args(argv)
    for name in ("rounds", "steps", "threads"):
        if (value := getattr(arguments, name)) is not None and value < 1:
            raise UsageError(f"--{name} {value}: give 1 or more")
    if arguments.scaling:
        return _scaling(arguments)
    if arguments.ranks is not None:
        raise UsageError("--ranks goes with --scaling, which measures several ranks: give both, or neither")
    configs = tuple(SIZES) if arguments.config == "all" else (arguments.config,)
    settings = {name: getattr(arguments, name) for name in ("rounds", "steps", "threads", "precision")}
    settings["equal_instructions"] = arguments.equal_instructions
    _bench(configs, settings, not arguments.no_torch, Path(arguments.out))
    return 0


def _scaling(arguments: Any) -> int:
    from ..scaling.measured.runs import MICRO_BATCHES
    from .measuring import scaling

    meant = (
        ("--threads", arguments.threads is not None),
        ("--precision", arguments.precision != "float32"),
        ("--equal-instructions", arguments.equal_instructions),
        ("--no-torch", arguments.no_torch),
    )
    if ignored := [name for name, given in meant if given]:
        raise UsageError(
            f"{' and '.join(ignored)}: --scaling measures minitrain alone, in float32, one thread a rank; leave it out"
        )
    valid = [count for count in range(1, MICRO_BATCHES + 1) if MICRO_BATCHES % count == 0]
    words = ",".join(map(str, valid)) if arguments.ranks is None else arguments.ranks
    ranks = [int(word) if word.strip().isdecimal() else 0 for word in words.split(",")]
    if not set(ranks) <= set(valid):
        raise UsageError(f"--ranks {words or repr(words)}: give some of {','.join(map(str, valid))}")
    if arguments.config not in scaling.SIZES:
        raise UsageError(f"--scaling --config {arguments.config}: give {' or '.join(scaling.SIZES)}")
    return scaling.scaling(arguments.config, ranks, arguments.rounds or 5, arguments.steps or 10, Path(arguments.out))


def _bench(configs: Sequence[str], settings: dict[str, Any], with_torch: bool, out: Path) -> None:
    from ..benchmark import train_step
    from ..benchmark.chart import draw
    from ..benchmark.contestants import PEERS
    from ..benchmark.machine import held_back
    from ..benchmark.report import say, write_json
    from ..benchmark.step_tables import show_result
    from ..files import make_folder

    make_folder(out)  # before the minutes of measuring, not after
    if line := held_back():
        warn(line)
    results = []
    for config in configs:
        result = train_step.measure(config, peers=PEERS if with_torch else (), **settings)
        show_result(result)
        results.append(result)
        # After every size: what was measured stays if a later one is stopped.
        numbers, picture = write_json(out / "bench.json", results), draw(results, out / "bench.png")
    say(f"results in {numbers}, chart in {picture}")
