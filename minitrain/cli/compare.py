"""``minitrain compare``: runs side by side, in one table and one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Parser, UsageError
from .failures import say

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from ..runs import Comparison

PICTURE = "comparison.png"
FEW = 3  # runs that fit next to each other; more have a row each
SHORT = {
    "validation loss": "val loss",
    "training loss": "loss",
    "steps": "steps",
    "tokens/s": "tokens/s",
    "targets/s": "targets/s",
    "seconds": "s",
}
"""The metrics of a ranking and their headings; the comparison of a few runs has more."""

_EPILOG = """\
The picture goes into the folder that the runs have in common, such as runs/, unless --out names another place.

Below the table, the runs are compared with the first one on the held-out samples that minitrain eval measured them on:
a paired test says whether a difference is more than the noise of these samples.

examples:
  minitrain compare runs/a runs/b
  minitrain compare runs/sweep-20250102-030405
  minitrain compare runs/pydoc-* --out losses.png"""


def run(argv: Sequence[str]) -> int:
    """Compare the runs that ``argv`` names; returns the exit code."""
    parser = Parser(
        "compare", description="The results of runs, and the settings in which they differ.", epilog=_EPILOG
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folders of two or more runs, or of a sweep")
    parser.add_argument(
        "--out", "--picture", metavar="FILE", help="the PNG to draw, or a folder for it (the common folder of the runs)"
    )
    arguments = parser.parse_args(argv)
    from ..folder.not_a_run import expand

    runs = expand(arguments.runs)
    if len(runs) < 2:
        raise UsageError("compare needs two or more run folders, or the folder of a sweep")
    show_comparison(runs, _picture(runs, arguments.out))
    from ..runs import compare_evaluations

    say(compare_evaluations(runs).describe())
    return 0


def show_comparison(runs: Sequence[str | Path], picture: str | Path) -> None:
    """Print the table of the runs in these folders, and draw their picture."""
    from rich.console import Console

    from ..formats import one_line
    from ..runs import compare_runs, plot_comparison

    comparison = compare_runs(runs)
    Console().print(_side_by_side(comparison) if len(comparison.names) <= FEW else _ranking(comparison))
    if comparison.best is not None and len(comparison.names) > FEW:
        loss = comparison.rows["validation loss"][comparison.best]
        say(f"best        {one_line(comparison.names[comparison.best])}, validation loss {loss}")
    say(f"picture     {plot_comparison(comparison, picture)}")


def _side_by_side(comparison: Comparison) -> Table:
    """A column for each run; the best validation losses are bold."""
    from rich.table import Table

    table = Table("")
    for run in comparison.names:
        table.add_column(_text(run), justify="right", overflow="fold")
    for name, values in comparison.rows.items():
        bold = {comparison.best} if "validation" in name else set()
        table.add_row(_text(name), *(_text(value, bold=i in bold) for i, value in enumerate(values)))
    return table


def _ranking(comparison: Comparison) -> Table:
    """A row for each run, the lowest validation loss first: the loss, then the settings that differ, then the rest."""
    from rich.table import Table

    rows = comparison.rows
    settings = [name for name in rows if name not in (*SHORT, "best validation loss")]
    metrics = [name for name in SHORT if name == "validation loss" or len(set(rows.get(name, ()))) > 1]
    columns = [metrics[0], *settings, *metrics[1:]]
    last = [name.rpartition(".")[2] for name in settings]
    headings = SHORT | {name: end if last.count(end) == 1 else name for name, end in zip(settings, last, strict=True)}
    table = Table("run")
    for name in columns:
        table.add_column(_text(headings[name]), justify="right", overflow="fold")
    for i in comparison.order:
        table.add_row(
            _text(comparison.names[i]), *(_text(rows[name][i], bold=i == comparison.best) for name in columns)
        )
    return table


def _text(value: str, *, bold: bool = False) -> Text:
    """The users' own text, in which brackets are brackets: rich must not read them as styles."""
    from rich.text import Text

    from ..formats import one_line

    return Text(one_line(value), style="bold" if bold else "")


def _picture(runs: Sequence[Path], out: str | None) -> Path:
    """Where the picture goes; a run's own folder gets none of other runs."""
    if out is not None:
        return Path(out) / PICTURE if Path(out).is_dir() else Path(out)
    common = Path(os.path.commonpath([run.resolve().parent for run in runs]))
    if common == Path.cwd() or common == Path(common.anchor):
        common = runs[0]
    return common / PICTURE
