"""``minitrain mutants``: plants mistakes in a backward of the user's, and lists those that the user's tests miss."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..arguments import Parser, UsageError
from ..failures import RUN_FAILED, say, warn

_EPILOG = """\
Each mistake is one small change in one function: another operator, a sign, a constant, an axis, a term left out, two
arguments that changed places. The tests that call the function run until one fails. A change that no test notices is a
test to write, or a change that makes no difference.

FILE may use any library, as long as its functions are written in Python. By default, the functions whose names say that
they compute gradients get mistakes (backward, bwd, vjp, grad), and the test files that name the module are run: next to
FILE, and in folders called tests above it. A run that was stopped, or whose time was up, goes on where it was. With
better tests, the same command tries only what was unnoticed.

examples:
  minitrain mutants my_layers.py
  minitrain mutants my_layers.py --functions Gate softmax_backward --tests tests/test_gate.py
  minitrain mutants src/my_package/ops.py --processes 8 --minutes 10

exit codes: 0 all noticed, 1 some unnoticed or not tried, 2 a mistake in the command"""


def run(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit code."""
    parser = Parser(
        "mutants",
        description="Plant small mistakes in the backwards of a file, one at a time; list those that its tests miss.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="the Python file that gets mistakes")
    parser.add_argument(
        "--functions", nargs="+", default=[], metavar="NAME", help="functions, methods or classes (those of gradients)"
    )
    parser.add_argument(
        "--tests", nargs="+", default=[], metavar="FILE", help="test files (those that name the module)"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="how many run at once (one per core)"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="a budget of time (none)")
    parser.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds beyond ten times the slowest test, after which a test counts as hanging (60)",
    )
    parser.add_argument(
        "--equivalents", metavar="FILE", help="a TOML file of changes that make no difference, with the reasons"
    )
    parser.add_argument("--list", action="store_true", help="print the mistakes and try none")
    arguments = parser.parse_args(argv)
    if arguments.processes < 1:
        raise UsageError(f"--processes {arguments.processes}: give 1 or more")
    if not arguments.minutes > 0:
        raise UsageError(f"--minutes {arguments.minutes:g}: give more than 0")
    if not 0 < arguments.patience < math.inf:
        raise UsageError(f"--patience {arguments.patience:g}: give seconds, more than 0")

    from ...testing.mutants import load_equivalents, target_of, try_mutants
    from ...testing.mutants.discovery import functions_in, module_of, tests_of
    from ...testing.mutants.report import describe

    module = module_of(arguments.file)
    names = functions_in(arguments.file, arguments.functions)
    _make_importable(module.root)
    try:
        targets = [target_of(f"{module.name}:{name}") for name in names]
    except ImportError as error:
        raise UsageError(f"{arguments.file} cannot be imported as {module.name}: {error}") from error
    if arguments.list:
        for target in targets:
            for mutant in target.mutants():
                say(describe(target, mutant))
        return 0
    tests = arguments.tests or [str(test) for test in tests_of(module, arguments.file)]
    if missing := [test for test in tests if not Path(test).is_file()]:
        raise UsageError(f"there is no test file {missing[0]}")
    progress = _progress_file(module.name, names, tests)
    say(f"{', '.join(names)}: tried on {', '.join(map(_shown, tests))}")
    try:
        report = try_mutants(
            targets,
            tests,
            processes=arguments.processes,
            equivalents=load_equivalents(arguments.equivalents) if arguments.equivalents else (),
            progress_file=progress,
            keep=True,
            seconds=60 * arguments.minutes,
            patience=arguments.patience,
            tell=_tell,
        )
    except (RuntimeError, ValueError) as error:  # tests that fail or do not run by themselves, a file that is missing
        raise UsageError(str(error)) from error
    _tell("")
    say(str(report))
    if report.good:
        progress.unlink(missing_ok=True)
    if report.untried:
        warn("the time was up: the same command goes on from here")
    return 0 if report.good else RUN_FAILED


def _make_importable(root: Path) -> None:
    """Put the folder of the module on Python's path, here and in the processes that run the tests."""
    paths = [str(root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _progress_file(module: str, names: Sequence[str], tests: Sequence[str]) -> Path:
    from ...backend.cache_dir import cache_dir

    which = hashlib.sha256("\n".join([os.getcwd(), module, *names, *tests]).encode()).hexdigest()[:16]
    return cache_dir() / "mutants" / f"{module}-{which}.jsonl"


def _shown(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _tell(message: str) -> None:
    """One line that is written over on a terminal; nothing in a file."""
    if sys.stderr.isatty():
        print(f"\r{message}\x1b[K", end="\r", file=sys.stderr, flush=True)
