"""``minitrain train``: start a run from settings, or go on with an interrupted one."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser, UsageError
from .failures import traceback_kept_in, warn

if TYPE_CHECKING:
    from ..training import Run

_DESCRIPTION = """\
Train a GPT on a text. Without any setting: a small one on Python's own language
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

Ctrl-C finishes the step, saves, and says how to go on; so does SIGTERM. A resumed run ends
with the same bytes as one that was never interrupted."""


def run(argv: Sequence[str]) -> int:
    """Train as ``argv`` says; returns the exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    if arguments.resume is not None:
        prepared = _resume(arguments.resume, arguments.settings)
    else:
        from .compose import compose_config

        config = compose_config(arguments.settings)
        if arguments.show:
            import yaml  # type: ignore[import-untyped]

            print(yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True), end="")
            return 0
        from ..training import start_run

        prepared = start_run(config, warn=warn)
    print(prepared.describe(), flush=True)
    with traceback_kept_in(prepared.run_dir), _stop_at_once(prepared.run_dir):
        _say_what_it_takes(prepared)
        result = prepared.train()
    print(f"\n{result.describe()}")
    return 0


def _say_what_it_takes(prepared: Run) -> None:
    """Memory and time, from a trial of a micro-batch that changes nothing."""
    from ..training import estimate
    from ..training.progress import PlainProgress, compilation_shown

    if not prepared.trainer.is_over():
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


def _resume(run_dir: str, settings: Sequence[str]) -> Run:
    if settings:
        raise UsageError(
            f"a resumed run keeps its settings: leave {settings[0]} out, or start a new run without --resume"
        )
    from ..training import resume_run

    with traceback_kept_in(run_dir):
        prepared = resume_run(run_dir, warn=warn)
    print(f"going on after step {prepared.trainer.state.step} of {prepared.trainer.total_steps}")
    return prepared


def _parser() -> Parser:
    from .groups import config_groups

    groups = config_groups()
    width = max(map(len, groups))
    lines = [f"    {group + '=':{width + 1}}  {', '.join(options)}" for group, options in sorted(groups.items())]
    parser = Parser("train", description=_DESCRIPTION, epilog=_EPILOG.format(groups="\n".join(lines)))
    parser.add_argument("settings", nargs="*", metavar="key=value", help="a setting and its new value")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--resume", metavar="RUN", help="go on with the run in this folder, with its settings")
    instead.add_argument("--show", action="store_true", help="print the settings as YAML and stop")
    return parser
