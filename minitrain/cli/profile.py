"""``minitrain profile``: where a training step's time and bytes go."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .arguments import Parser, UsageError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

    from ..profiling.steps import Steps

_DESCRIPTION = """\
Train a few steps and show where their time and bytes go, operation by operation, next to what this
machine can do."""

_EPILOG = """\
WHAT is either settings, as for minitrain train, or the name of one language model, which then trains on random
tokens. No run folder is written.

columns (means of a step):
  GFLOP      operations of matrix products, counted exactly; of other operations those that the readable code
             applies to each element
  GB         arrays read and written, each once: the least that has to move
  FLOP/B     GFLOP over GB, the arithmetic intensity
  limit      what the machine limits it by: arithmetic (GFLOP over the peak of multiply-adds in first-level cache), or
             memory (GB over the bandwidth of a triad), whichever takes longer
  of bound   that time over the measured one: 100% is as fast as the machine allows (the roofline); above 100% the
             arrays came from the caches

Inside an operation nothing is told apart; by layer, what a layer itself calls is counted, not the layers inside it.

examples:
  minitrain profile                                   the default of minitrain train
  minitrain profile recipe=tiny trainer.batch_size=16
  minitrain profile gpt2 --batch-size 4 --length 64   a preset on random tokens
  minitrain profile gpt-char --precision bfloat16     with settings: trainer.precision=bfloat16
  minitrain profile gpt-char --by-layer --json profile.json

presets:
{presets}

exit codes: 0 done, 1 the training failed, 2 a mistake in the command"""

_STEPS, _WARMUP = 10, 3


def run(argv: Sequence[str]) -> int:
    """Profile what ``argv`` says; returns the exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    for option, least in (("steps", 1), ("warmup", 0)):
        if getattr(arguments, option) < least:
            raise UsageError(f"--{option} {getattr(arguments, option)}: give {least} or more")
    from ..profiling import describe, draw, measure_machine, tables
    from ..profiling.steps import profile_steps
    from ..records.progress import PlainProgress, compilation_shown

    with _chosen(arguments) as steps, compilation_shown(PlainProgress(0, 1)):
        print(steps.title, flush=True)
        machine = measure_machine(precision=steps.precision)
        report = profile_steps(
            steps, arguments.steps, warmup=arguments.warmup, machine=machine, by_layer=arguments.by_layer
        )
    _print(tables(report, by_layer=arguments.by_layer))
    print(*describe(report), sep="\n")
    print(f"picture: {draw(report, arguments.picture, steps.title)}")
    if arguments.json is not None:
        from ..files import write_atomically

        write_atomically(arguments.json, json.dumps(report.to_dict(), indent=1).encode() + b"\n")
        print(f"numbers: {arguments.json}")
    return 0


@contextlib.contextmanager
def _chosen(arguments: argparse.Namespace) -> Iterator[Steps]:
    """The steps that the user asked for.

    Raises:
        UsageError: if a name is no preset, or settings and names are mixed.
    """
    from ..profiling.steps import BATCH_SIZE, steps_of_preset, steps_of_run
    from ..runs.recipes.options import language_presets
    from .presets import other_presets

    what = arguments.what
    names = [word for word in what if "=" not in word]
    if not names:
        settings = {"batch_size": "trainer.batch_size", "length": "data.block_size", "precision": "trainer.precision"}
        for option, setting in settings.items():
            if getattr(arguments, option) is not None:
                raise UsageError(f"--{option.replace('_', '-')} goes with a preset; with settings write {setting}=...")
        from .compose import compose_config

        with steps_of_run(compose_config(what)) as steps:
            yield steps
        return
    presets = language_presets()
    if names[0] in other_presets():
        raise UsageError(f"{names[0]} is not a language model; there are {', '.join(presets)}")
    if names[0] not in presets:
        hint = did_you_mean(names[0], presets) or f"; there are {', '.join(presets)}"
        raise UsageError(f"{names[0]!r} is neither a setting, key=value, nor a preset{hint}")
    if len(what) > 1:
        raise UsageError(f"give the preset {names[0]} alone, or settings such as preset={names[0]} and others")
    size = BATCH_SIZE if arguments.batch_size is None else arguments.batch_size
    yield steps_of_preset(
        names[0], batch_size=size, length=arguments.length, precision=arguments.precision or "float32"
    )


def _print(tables: Sequence[Table]) -> None:
    """Print tables in their full width: on a narrow screen lines wrap, and no number is cut off."""
    from rich.console import Console

    unlimited = Console(width=1000)
    for table in tables:
        width = max(Console().width, unlimited.measure(table).maximum)
        Console(highlight=False, width=width).print(table)


def _parser() -> Parser:
    from .presets import presets_in_words

    parser = Parser("profile", description=_DESCRIPTION, epilog=_EPILOG.format(presets=presets_in_words()))
    parser.add_argument("what", nargs="*", metavar="WHAT", help="settings, key=value, or the name of a preset")
    parser.add_argument("--steps", type=int, default=_STEPS, metavar="N", help=f"steps to record ({_STEPS})")
    parser.add_argument("--warmup", type=int, default=_WARMUP, metavar="N", help=f"steps before those ({_WARMUP})")
    parser.add_argument("--batch-size", type=int, metavar="B", help="sequences a step of a preset (4)")
    parser.add_argument("--length", type=int, metavar="T", help="tokens a sequence of a preset (256, or its longest)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="of products of a preset (float32)")
    parser.add_argument("--by-layer", action="store_true", help="a second table, by layer of the model")
    parser.add_argument("--picture", default="profile.png", metavar="FILE", help="the PNG to draw (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write all numbers to this file")
    return parser
