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


def positive_int(text: str) -> int:
    """Read a whole number of 1 or more, for ``type=`` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)
