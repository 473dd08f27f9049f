"""Argument parsing whose errors are one line, with a suggestion where a name is nearly right."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import NoReturn

from ..errors import ConfigError, nearest


class UsageError(ConfigError):
    """The command line cannot be understood."""


CUTOFF = 0.67
"""How alike two words must be; below this, a suggestion misleads more often than it helps."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean x?"`` for the one of ``known`` spelled most like ``name``, or nothing if none is near."""
    near = nearest(name, known, cutoff=CUTOFF)
    return f"; did you mean {near}?" if near else ""


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that keeps the layout of its texts and raises its errors instead of exiting."""

    def __init__(self, command: str, *, description: str, epilog: str, add_help: bool = True) -> None:
        super().__init__(
            prog=f"minitrain {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=add_help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the complaint, for the one place that prints errors.

        Raises:
            UsageError: always.
        """
        if self.prog == "minitrain train" and message.startswith("unrecognized"):
            message += "; settings have no dashes: optimizer.learning_rate=1e-3"
        raise UsageError(f"{message} (see {self.prog} --help)")

    def add_run(self) -> None:
        """Take the folder of a run, as ``run``."""
        self.add_argument("run", metavar="RUN", help="the folder of a run, such as runs/pydoc-20250102-030405")
        self.add_trust()

    def add_trust(self) -> None:
        """Take ``--trust``, as ``trust``."""
        self.add_argument(
            "--trust", action="store_true", help="the settings in RUN may name files and services outside of it"
        )

    def add_plugin(self) -> None:
        """Take ``--plugin``, any number of times, as ``plugin``."""
        self.add_argument(
            "--plugin",
            metavar="FILE",
            action="append",
            default=[],
            help="run this Python file first: callbacks, optimizers, schedules, losses, metrics and models of your own",
        )

    def add_device(self) -> None:
        """Take ``--device``, as ``device``; ``None`` stands for the run's own."""
        self.add_argument("--device", metavar="DEVICE", help="cpu or cuda (the run's own)")
