"""``minitrain gradcheck``: every backward against finite differences, as a table."""

from __future__ import annotations

import runpy
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Parser, UsageError, did_you_mean
from .failures import RUN_FAILED

if TYPE_CHECKING:
    from rich.text import Text

    from ..testing.suite import Subject, Verdict

_EPILOG = """\
NAME is an operation, a layer, or a family of both (activations, attention, norms, ...). Without a NAME, all are
checked. FILE.py is a file of your own. It is run, and the cases it registers are checked:

  from minitrain.testing.cases import layer_case
  layer_case("my layer", lambda rng: MyLayer(8, rng))        # its input is x (2, 4, 8)
  layer_case("narrow layer", lambda rng: MyLayer(3, rng), inputs=lambda rng: (rng.standard_normal((5, 3)),))

If it registers none, everything in it that has a backward is checked: pairs NAME and NAME_backward (or NAME_forward),
subclasses of torch.autograd.Function, PyTorch modules, and functions with a jax.custom_vjp. Shapes are guessed. The
file can say them, each letter a size: GRADCHECK = {"my_norm": "x: B C; weight: C"}

The checks run the readable array code in float64. (The tests compare the compiled kernels with that code.) The error
is the difference between the written gradient and finite differences, relative to the size of the gradient. Green is
below 1e-9, yellow is below the limit of 1e-6, red is wrong.

examples:
  minitrain gradcheck
  minitrain gradcheck attention "rms norm" --examples 100
  minitrain gradcheck my_layers.py --seed 7
  minitrain gradcheck my_functions.py --framework torch

exit codes: 0 all right, 1 a backward is wrong, 2 an unknown name"""

_EXAMPLES = 10
_ROOM = 18  # for the names of arguments, at least
_TIGHT = 1e-9  # where rounding and the finite step leave a right gradient


def run(argv: Sequence[str]) -> int:
    """Run the command. Returns the exit code."""
    parser = Parser(
        "gradcheck",
        description="Check the hand-written backward of every operation and layer against finite differences.",
        epilog=_EPILOG,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="what to check: names, families, or a FILE.py")
    parser.add_argument(
        "--examples", type=int, default=_EXAMPLES, metavar="N", help=f"random calls of each ({_EXAMPLES})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random calls (0)")
    parser.add_argument(
        "--framework", choices=("numpy", "torch", "jax"), help="which functions of a FILE.py to check (all)"
    )
    arguments = parser.parse_args(argv)
    if arguments.examples < 1:
        raise UsageError(f"--examples {arguments.examples}: give 1 or more")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed}: give 0 or more")
    _keep_files_away()
    chosen = _chosen(arguments.names, arguments.framework)
    return RUN_FAILED if _check(chosen, arguments.examples, arguments.seed) else 0


def _keep_files_away() -> None:
    """Keep the folder that Hypothesis creates out of the user's working directory."""
    from hypothesis.configuration import set_hypothesis_home_dir

    from ..backend.cache_dir import cache_dir

    set_hypothesis_home_dir(cache_dir() / "hypothesis")


def _chosen(names: Sequence[str], framework: str | None = None) -> list[Subject]:
    """The subjects that the user named, without repetitions.

    Args:
        names: of operations, layers, families, files; all operations and layers if there are none.
        framework: which functions of a file are meant; all by default.

    Raises:
        UsageError: if a name is unknown, or a file cannot be run or registers nothing.
    """
    from ..testing.calls.found import subjects_of
    from ..testing.suite import subjects

    known = subjects()
    chosen = [] if names else known
    for name in names:
        if name.endswith(".py"):
            namespace = _run_file(name)
            found = [subject for subject in subjects() if subject not in known]
            found = found or subjects_of(namespace, framework)
            what = f" for {framework}" if framework else ""
            problem = (
                f"{name} registers no case: call layer_case(...) of minitrain.testing.cases in it; and it has nothing "
                f"with a backward{what}, such as f and f_backward (see minitrain gradcheck --help)"
            )
        else:
            found = [subject for subject in known if name == subject.name]
            found = found or [subject for subject in known if name == subject.family]
            valid = sorted({word for subject in known for word in (subject.name, subject.family)})
            families = ", ".join(sorted({subject.family for subject in known}))
            problem = f"unknown name {name!r}{did_you_mean(name, valid) or f'; there are the families {families}'}"
        if not found:
            raise UsageError(problem)
        chosen += [subject for subject in found if subject not in chosen]
    return chosen


def _run_file(path: str) -> dict[str, Any]:
    """Run a user's file, so that it registers its cases; returns its names."""
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}")
    try:
        return runpy.run_path(path)
    except Exception as error:
        raise UsageError(f"{path} does not run: {type(error).__name__}: {error}") from error


def _check(chosen: Sequence[Subject], examples: int, seed: int) -> list[Verdict]:
    """Check all and print a line for each. Returns the wrong ones."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(highlight=False, markup=False, soft_wrap=True)
    tables = {kind: _Table(kind, chosen, console.width) for kind in {subject.kind for subject in chosen}}
    verdicts: list[Verdict] = []
    started = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("checking", total=len(chosen))
        for subject in chosen:
            table = tables[subject.kind]
            if not verdicts or verdicts[-1].kind != subject.kind:
                console.print(*([""] if verdicts else []), table.header(), sep="\n")
            bar.update(task, description=f"checking {subject.name}")
            verdict = subject.check(examples, seed)
            verdicts.append(verdict)
            console.print(table.row(verdict))
            if verdict.failure:
                console.print(_indented(verdict.failure))
            bar.advance(task)
    wrong = [verdict for verdict in verdicts if verdict.failure]
    console.print()
    console.print(_summary(verdicts, wrong, time.monotonic() - started))
    return wrong


class _Table:
    """A table whose column widths are fixed before its rows are known.

    Args:
        kind: of the rows, ``"operation"`` or ``"layer"``.
        chosen: the functions that will be checked.
        width: of the screen, in characters.
    """

    def __init__(self, kind: str, chosen: Iterable[Subject], width: int) -> None:
        self._kind = kind
        longest = max(len(kind), *(len(subject.name) for subject in chosen if subject.kind == kind))
        self._name = min(longest, max(20, width - 22 - _ROOM))  # 22 for the numbers and the gaps
        self._arguments = max(_ROOM, width - self._name - 22)

    def header(self) -> Text:
        """The names of the columns."""
        from rich.text import Text

        title = f"{self._kind:{self._name}}  {'worst error':>11}  {'calls':>5}  arguments checked"
        return Text(title, style="bold")

    def row(self, verdict: Verdict) -> Text:
        """The row of one operation or layer."""
        from rich.text import Text

        style = "red" if verdict.failure else "green" if verdict.worst < _TIGHT else "yellow"
        error = f"{verdict.worst:.1e}" if verdict.errors else "failed" if verdict.failure else "-"
        name = verdict.name if len(verdict.name) <= self._name else verdict.name[: self._name - 3] + "..."
        line = Text(f"{name:{self._name}}  ")
        line.append(f"{error:>11}", style=style)
        line.append(f"  {verdict.calls:>5}  {_listed(list(verdict.errors), self._arguments)}")
        return line


def _listed(names: Sequence[str], width: int) -> str:
    """As many names as fit. If some are left out, also the number of all."""
    whole = ", ".join(names)
    shown = list(names)
    while len(whole) > width and shown:
        shown.pop()
        whole = ", ".join([*shown, f"... {len(names)} in all"])
    return whole


def _indented(failure: str) -> Text:
    from rich.text import Text

    return Text("\n".join(f"  {line}" for line in failure.splitlines()), style="red")


def _summary(verdicts: Sequence[Verdict], wrong: Sequence[Verdict], seconds: float) -> Text:
    from rich.text import Text

    gradients, calls = sum(len(verdict.errors) for verdict in verdicts), sum(verdict.calls for verdict in verdicts)
    done = f"{_count(gradients, 'gradient')} in {_count(calls, 'call')}"
    if wrong:
        names = ", ".join(verdict.name for verdict in wrong)
        return Text(f"{len(wrong)} of {len(verdicts)} are wrong: {names} ({done}, {seconds:.0f} s)", style="bold red")
    numbers = Counter(verdict.kind for verdict in verdicts)
    kinds = " and ".join(_count(number, kind) for kind, number in numbers.items())
    worst = max(verdicts, key=lambda verdict: verdict.worst)
    return Text(
        f"right: {kinds}, {done}, worst relative error {worst.worst:.1e} ({worst.name}), {seconds:.0f} s",
        style="bold green",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
