"""For teachers: make the edition of a notebook for students, and grade what they hand in.

    python -m minitrain.tutorials hand-out NOTEBOOK... --out FOLDER
    python -m minitrain.tutorials grade NOTEBOOK HANDED_IN... [--out marks.csv] [--seconds 20]

NOTEBOOK has the solutions. Exit code 0: all exercises are right. 1: some are not. 2: nothing could be done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import ConfigError
from .grading import SECONDS, grade
from .hand_out import for_students
from .marks import table, write_marks
from .notebook import Notebook, read_notebook, write_notebook


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _hand_out(options) if options.command == "hand-out" else _grade(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m minitrain.tutorials", description="Hand out and grade notebooks.")
    commands = parser.add_subparsers(dest="command", required=True)
    hand_out = commands.add_parser("hand-out", help="write the edition for students, without solutions")
    hand_out.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK", help="with solutions, .ipynb")
    hand_out.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    grading = commands.add_parser("grade", help="check the exercises in students' notebooks")
    grading.add_argument("notebook", type=Path, metavar="NOTEBOOK", help="with solutions, .ipynb")
    grading.add_argument("handed_in", nargs="+", type=Path, metavar="HANDED_IN", help="a student's, .ipynb")
    grading.add_argument("--out", type=Path, metavar="FILE", help="also write the marks as .json or .csv")
    grading.add_argument("--seconds", type=float, default=SECONDS, help="for each function (%(default)g)")
    return parser


def _hand_out(options: argparse.Namespace) -> int:
    for path in options.notebooks:
        target = options.out / path.name
        if target.resolve() == path.resolve():
            raise ConfigError(f"{path} has the solutions, and --out would write over it; choose another folder")
        try:
            edition = for_students(read_notebook(path))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        write_notebook(edition, target)
        print(f"wrote {target}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    if options.out and options.out.suffix not in (".json", ".csv"):
        raise ConfigError(f"--out {options.out}: marks are written as .json or .csv")
    if not 0 < options.seconds < float("inf"):
        raise ConfigError(f"--seconds {options.seconds:g}: give a number above 0")
    teacher = read_notebook(options.notebook)
    marks = grade(teacher, {str(path): _handed_in(path) for path in options.handed_in}, seconds=options.seconds)
    if options.out:
        write_marks(marks, options.out)
    print(table(marks))
    return 0 if all(mark.passed for mark in marks) else 1


def _handed_in(path: Path) -> Notebook | ConfigError:
    """A student's notebook; one that cannot be read does not stop the others."""
    try:
        return read_notebook(path)
    except ConfigError as error:
        return error


if __name__ == "__main__":
    sys.exit(main())
