"""``minitrain train``: start a run from settings, or go on with an interrupted one."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser, UsageError
from .failures import say, traceback_kept_in, warn

if TYPE_CHECKING:
    from ..runs import Run

_DESCRIPTION = """\
Train a language model on a text. Without any setting: a small one on Python's own language
reference, in one to two minutes on two CPU cores."""

_EPILOG = """\
settings:
  --show lists them all with their values. The short forms choose a group of them:
{groups}

examples:
  minitrain train                                        the default, recipe=pydoc
  minitrain train data.path=notes.txt                    your own text, a file or a folder
  minitrain train data.path=notes data.tokenizer=byte    any script, whatever will be asked of it
  minitrain train data.path=notes data.tokenizer=bpe data.vocab_size=2000
  minitrain train trainer.max_steps=5000 model.n_embd=256 model.dropout=0.1
  minitrain train recipe=shakespeare_char data.path=tinyshakespeare.txt
  minitrain train 'callbacks=[throughput,{{name: ema, decay: 0.99}}]'    what else is to happen
  minitrain train recipe=tiny --show                     see the settings, train nothing
  minitrain train --resume runs/NAME
  minitrain train --multirun optimizer.learning_rate=1e-3,3e-4 'model.n_layer=range(2,5)'
  minitrain train --multirun --resume runs/sweep-NAME

Ctrl-C finishes the step, saves, and says how to go on; so does SIGTERM. A resumed run ends
with the same bytes as one that was never interrupted. --multirun trains one run after the other, each in a
folder of its own, and compares them; it takes lists of values in Hydra's grammar, where a value with
a comma in it needs quotes."""


def run(argv: Sequence[str]) -> int:
    """Train as ``argv`` says; returns the exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    if arguments.multirun:
        return _sweep(arguments)
    if arguments.resume is not None:
        prepared = _resume(arguments.resume, arguments.settings, trusted=arguments.trust)
    else:
        from .compose import compose_config

        config = compose_config(arguments.settings)
        if arguments.show:
            import yaml  # type: ignore[import-untyped]

            print(yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True), end="")
            return 0
        from ..runs import start_run

        prepared = start_run(config, warn=warn)
    _train(prepared)
    return 0


def _train(prepared: Run) -> None:
    """Train a run to its end, and say what it is, what it takes and what came out."""
    say(prepared.describe())
    with traceback_kept_in(prepared.run_dir), _stop_at_once(prepared.run_dir):
        _say_what_it_takes(prepared)
        result = prepared.train()
    say(f"\n{result.describe()}")


def _sweep(arguments: argparse.Namespace) -> int:
    """A run for each combination of settings, or those of an interrupted sweep that are left."""
    from .sweep import begin_sweep, compose_sweep, load_sweep, run_sweep

    if arguments.resume is not None:
        _refuse_settings(arguments.settings, "sweep")
        folder = Path(arguments.resume)
        runs = load_sweep(folder)
    else:
        folder, runs = compose_sweep(arguments.settings)
        if arguments.show:
            print("\n".join(runs))
            return 0
        begin_sweep(folder, runs)
    return run_sweep(folder, runs, _train)


def _refuse_settings(settings: Sequence[str], what: str) -> None:
    if settings:
        raise UsageError(
            f"a resumed {what} keeps its settings: leave {settings[0]} out, or start a new {what} without --resume"
        )


def _say_what_it_takes(prepared: Run) -> None:
    """Memory and time, from a trial of a micro-batch that changes nothing."""
    from ..records.progress import PlainProgress, compilation_shown
    from ..training import estimate

    if not prepared.trainer.view.is_over:
        with compilation_shown(PlainProgress(0, 1)):
            print(estimate(prepared.trainer).describe(), flush=True)


@contextlib.contextmanager
def _stop_at_once(run_dir: Path) -> Iterator[None]:
    """Say how to go on after a second signal too, which stops the trainer without saving."""
    from ..training import Interrupted

    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
        command = f"minitrain train --resume {shlex.quote(str(run_dir))}"
        raise Interrupted(f"stopped at once; go on from the last checkpoint with: {command}", number) from stop


def _resume(run_dir: str, settings: Sequence[str], *, trusted: bool) -> Run:
    _refuse_settings(settings, "run")
    from ..runs import resume_run
    from .sweep import SWEEP

    if (Path(run_dir) / SWEEP).exists():
        raise UsageError(f"{run_dir} is a sweep, not a run: add --multirun")
    with traceback_kept_in(run_dir):
        prepared = resume_run(run_dir, trusted=trusted, warn=warn)
    print(f"going on after step {prepared.trainer.state.step} of {prepared.trainer.total_steps}")
    return prepared


def _parser() -> Parser:
    from .groups import config_groups

    groups = config_groups()
    width = max(map(len, groups))
    lines = [f"    {group + '=':{width + 1}}  {', '.join(options)}" for group, options in sorted(groups.items())]
    parser = Parser("train", description=_DESCRIPTION, epilog=_EPILOG.format(groups="\n".join(lines)))
    parser.add_argument("settings", nargs="*", metavar="key=value", help="a setting and its new value")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="a run for each combination of values, a,b or range(1,4)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--resume", metavar="RUN", help="go on with the run in this folder, with its settings")
    parser.add_trust()
    instead.add_argument("--show", action="store_true", help="print the settings as YAML and stop")
    return parser
