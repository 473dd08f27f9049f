"""``minitrain train``: start a run from settings, or continue one."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser, UsageError
from .failures import say, traceback_kept_in, warn
from .options.plugins import load_plugins

if TYPE_CHECKING:
    from ..distributed.group import Group
    from ..runs import Run

_DESCRIPTION = """\
Train a model for a task. Without any setting: a small language model on Python's own language
reference, in one to two minutes on two CPU cores."""

_EPILOG = """\
groups of settings:
{groups}

  --help GROUP prints the settings of a group, --show all of them with their values.

examples:
  minitrain train                                        the default, recipe=pydoc
  minitrain train data.path=notes.txt                    your own text, a file or a folder
  minitrain train data.path=notes data.tokenizer=byte    can read and write any script
  minitrain train data.path=notes data.tokenizer=bpe data.vocab_size=2000
  minitrain train trainer.max_steps=5000 model.n_embd=256 model.dropout=0.1
  minitrain train recipe=shakespeare_char data.path=tinyshakespeare.txt
  minitrain train task=sequence_to_sequence data.path=pairs.tsv        another task; --help task lists them
  minitrain train recipe=digits                          images and their classes: no download
  minitrain train 'callbacks=[throughput,{{name: ema, decay: 0.99}}]'    what else to do while training
  minitrain train --plugin mine.py 'callbacks=[mine]'    callbacks, optimizers and models of your own
  minitrain train --help optimizer                       the optimizers and their settings
  minitrain train recipe=tiny --show                     see the settings, train nothing
  minitrain train --resume runs/NAME                     continue a run that was stopped
  minitrain train --resume runs/NAME trainer.max_steps=9000    train a finished run longer
  minitrain train init_from=runs/NAME data.path=more.txt       a new run from its weights
  minitrain train distributed=processes ranks=2 trainer.gradient_accumulation_steps=4
  mpirun -n 4 minitrain train trainer.gradient_accumulation_steps=4
  minitrain train --multirun optimizer.learning_rate=1e-3,3e-4 'model.n_layer=range(2,5)'
  minitrain train --multirun --jobs 4 'seed=range(1,9)'
  minitrain train --multirun --launcher slurm launcher.partition=gpu launcher.gpus=1 model=gpt,llama
  minitrain train --multirun --search optuna --trials 30 \
      'optimizer.learning_rate=tag(log,interval(1e-4,1e-2))' 'model.n_layer=range(2,7)'
  minitrain train --multirun --resume runs/sweep-NAME

Ctrl-C finishes the step, saves, and says how to continue; so does SIGTERM. A resumed run ends
with the same bytes as one that was never interrupted.

--multirun trains a run for each combination of values, in a folder of its own, and compares them.
Values are written in Hydra's grammar: a,b  range(1,5)  choice(a,b)  glob(a*)  ${{model.n_embd}}; a value
with a comma in it needs quotes. The runs go one after the other, or several at a time (--jobs), or to a
cluster (--launcher); launcher.KEY=VALUE and search.KEY=VALUE set what these take."""


def run(argv: Sequence[str]) -> int:
    """Train as ``argv`` says; returns the exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    load_plugins(arguments.plugin)
    if arguments.help is not None:
        return _help(arguments.help, arguments.settings)
    if arguments.multirun:
        from .sweep.command import train_sweep

        return train_sweep(arguments, _train)
    _refuse_what_is_for_sweeps(arguments)
    if arguments.show:
        from ..settings.table import commented
        from .compose import compose_config

        print(commented(compose_config(arguments.settings)), end="")
        return 0
    from .options.ranks import ranks_of_this_process, start_ranks

    started = start_ranks(arguments, argv)
    if started is not None:
        return started
    with ranks_of_this_process() as group:
        prepared = _prepared(arguments, group)
        if prepared is not None:
            _train(prepared)
    return 0


def _prepared(arguments: argparse.Namespace, group: Group | None) -> Run | None:
    """The run that the arguments ask for, ready to train; ``None`` if it is finished already."""
    if arguments.resume is not None:
        return _resume(arguments.resume, arguments.settings, trusted=arguments.trust, group=group)
    from ..runs import start_run
    from .compose import compose_config

    return start_run(compose_config(arguments.settings), warn=warn, group=group)


def _help(group: str, settings: Sequence[str]) -> int:
    """Print the help of a group; without one, that of the command."""
    if not group or "=" in group:
        _parser().print_help()
        return 0
    from .options.group_help import describe_group

    print(describe_group(group, settings))
    return 0


def _train(prepared: Run) -> None:
    """Train a run to its end; print what it is, what it needs and its result."""
    if prepared.group is not None and not prepared.group.is_main:
        prepared.trainer.train()  # rank 0 says and reports all
        return
    say(prepared.describe())
    with traceback_kept_in(prepared.run_dir), _stop_at_once(prepared):
        _say_what_it_takes(prepared)
        result = prepared.train()
    say(f"\n{result.describe()}")


def _refuse_what_is_for_sweeps(arguments: argparse.Namespace) -> None:
    for option in ("launcher", "jobs", "search", "trials", "job"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} is for sweeps: add --multirun")


def _say_what_it_takes(prepared: Run) -> None:
    """Memory and time, from a trial of a micro-batch that changes nothing."""
    from ..records.progress import PlainProgress, compilation_shown
    from ..training import estimate

    if not prepared.trainer.view.is_over:
        with compilation_shown(PlainProgress(0, 1)):
            print(estimate(prepared.trainer).describe(), flush=True)


@contextlib.contextmanager
def _stop_at_once(prepared: Run) -> Iterator[None]:
    """Say how to continue after a second signal too, which stops the trainer without saving."""
    from ..training import Interrupted

    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
        command = prepared.trainer.run.command
        raise Interrupted(f"stopped at once; continue from the last checkpoint with: {command}", number) from stop


def _resume(run_dir: str, settings: Sequence[str], *, trusted: bool, group: Group | None = None) -> Run | None:
    """The run in a folder, ready to continue; ``None`` if it is finished, which is said then."""
    from ..folder.not_a_run import SWEEP
    from ..runs import resume_run
    from .compose import read_changes

    if (Path(run_dir) / SWEEP).exists():
        raise UsageError(f"{run_dir} is a sweep, not a run: add --multirun")
    changes = read_changes(settings)
    with traceback_kept_in(run_dir):
        prepared = resume_run(run_dir, changes, trusted=trusted, warn=warn, group=group)
    trainer = prepared.trainer
    if prepared.is_finished():
        say(
            f"{run_dir} is finished: all {trainer.total_steps} steps are done. To train it longer: "
            f"{trainer.run.command} trainer.max_steps=N"
        )
        return None
    print(f"continuing after step {trainer.state.step} of {trainer.total_steps}")
    return prepared


def _parser() -> Parser:
    from .options.group_help import groups_in_words

    epilog = _EPILOG.format(groups=groups_in_words())
    parser = Parser("train", description=_DESCRIPTION, epilog=epilog, add_help=False)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="a setting and its new value")
    parser.add_argument(
        "-h", "--help", nargs="?", const="", metavar="GROUP", help="print this text, or the settings of a group"
    )
    parser.add_plugin()
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="a run for each combination of values, a,b or range(1,4)"
    )
    parser.add_argument("--launcher", metavar="ENGINE", help="what does the runs: serial, joblib, slurm, ray")
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="how many runs at a time (with joblib)")
    parser.add_argument("--search", metavar="ENGINE", help="what chooses the values: optuna")
    parser.add_argument("--trials", type=int, metavar="N", help="runs that a search makes (20)")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # one run of a sweep, started by a launcher
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--resume", metavar="RUN", help="continue the run in this folder, with its settings")
    parser.add_trust()
    instead.add_argument("--show", action="store_true", help="print the settings as YAML and stop")
    return parser
