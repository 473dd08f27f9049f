"""Argument parsing whose errors are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ..errors import ConfigError


class UsageError(ConfigError):
    """The command line cannot be understood."""


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that keeps the layout of its texts and raises its errors instead of exiting."""

    def __init__(self, command: str, *, description: str, epilog: str) -> None:
        super().__init__(
            prog=f"minitrain {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the complaint, for the one place that prints errors.

        Raises:
            UsageError: always.
        """
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

    def add_device(self) -> None:
        """Take ``--device``, as ``device``; ``None`` stands for the run's own."""
        self.add_argument("--device", metavar="DEVICE", help="cpu or cuda (where it was trained)")
