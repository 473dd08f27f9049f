"""Chooses the command and turns its outcome into an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from .arguments import UsageError, did_you_mean
from .failures import report, warn

# A command is a module of this package, or of one inside of it, with ``run(argv) -> exit code``; it is imported when it
# is called.
_ELSEWHERE = {
    "generate": ".writing.generate",
    "chat": ".writing.chat",
    "serve": ".writing.serve",
    "fit-scaling": ".sweep.fit_scaling",
    "audit": ".measuring.audit",
    "mutants": ".measuring.mutants",
    "clean": ".preparing.clean",
}
COMMANDS = {
    "train": "train a model, or continue a run",
    "generate": "let a trained model continue a text, or answer",
    "chat": "talk to a trained model in the terminal",
    "serve": "a local page to explore a model, and OpenAI's API for it",
    "eval": "how good a trained model is on data it has not seen",
    "audit": "what a trained model remembers of its training text",
    "export": "write a trained model for transformers or llama.cpp",
    "plot": "draw the curves of a run",
    "compare": "runs side by side: their results, and the settings that differ",
    "fit-scaling": "how the loss falls with parameters and tokens, from runs of several sizes",
    "data": "the data sets that minitrain knows by name",
    "clean": "data without duplicates, personal data and unwanted texts, with a report",
    "shards": "turn a text of any size into token shards, to train on",
    "bench": "how fast this machine trains, next to PyTorch if it is installed",
    "profile": "where the time and the bytes of a training step go",
    "gradcheck": "check every backward against finite differences, those of a file of yours too",
    "mutants": "plant mistakes in a file of yours and list those that its tests miss",
    "info": "versions, threads, BLAS and GPU that minitrain finds; the size of a model",
}

_EXAMPLES = """\
examples:
  minitrain train                                 a small GPT on Python's own language reference
  minitrain train data.path=notes.txt             the same on your text, a file or a folder
  minitrain train model.n_layer=6 device=cuda     any setting can be changed: key=value
  minitrain train --help trainer                  the settings of a group
  minitrain train --resume runs/NAME              continue a run that was stopped
  minitrain generate runs/NAME --prompt "The "    let the model write

exit codes: 0 done, 1 the run failed, 2 a mistake in the command,
            130 stopped by Ctrl-C, 143 stopped by SIGTERM"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    An error becomes one line on stderr, never an exception. ``MINITRAIN_DEBUG=1`` adds the traceback.

    Args:
        argv: the arguments after the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 a mistake the user can correct, 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without, say, Chinese shows '?', and the run goes on
            stream.reconfigure(errors="replace")
    with warnings.catch_warnings():
        # A value that is not finite stops a run with an error of its own: NumPy's warnings before it add nothing.
        warnings.filterwarnings("ignore", category=RuntimeWarning, message=".* encountered in ")
        warnings.showwarning = lambda message, *_: warn(str(message))
        try:
            code = _dispatch(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
            return code
        except SystemExit as done:  # argparse, after printing a help text
            return done.code if isinstance(done.code, int) else 0
        except BaseException as error:
            return report(error)


def _open_missing_streams() -> None:
    """Give a process that was started with a closed standard stream (``>&-``) one that leads nowhere.

    Otherwise the next file that is opened, a checkpoint perhaps, would become the standard output.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        import minitrain

        print(f"minitrain {minitrain.__version__}")
        return 0
    command, *rest = argv
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
        raise UsageError(f"unknown command {command!r}{hint}")
    code: int = importlib.import_module(_ELSEWHERE.get(command, f".{command}"), __package__).run(rest)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        [
            "usage: minitrain COMMAND [arguments]       minitrain COMMAND --help tells more",
            "",
            "Train small transformers on plain NumPy or CuPy arrays.",
            "",
            "commands:",
            *lines,
            "",
            _EXAMPLES,
        ]
    )
