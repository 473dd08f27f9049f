"""``minitrain compare``: runs side by side, in one table and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import printable
from .arguments import Parser, UsageError
from .failures import say

_EPILOG = """\
examples:
  minitrain compare runs/a runs/b
  minitrain compare runs/pydoc-* --picture losses.png"""


def run(argv: Sequence[str]) -> int:
    """Compare the runs that ``argv`` names; returns the exit code."""
    parser = Parser(
        "compare", description="What came out of runs, and the settings in which they differ.", epilog=_EPILOG
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folders of two or more runs")
    parser.add_argument("--picture", default="comparison.png", metavar="FILE", help="the PNG to draw (%(default)s)")
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        raise UsageError("compare needs two or more run folders")

    show_comparison(arguments.runs, arguments.picture)
    return 0


def show_comparison(runs: Sequence[str | Path], picture: str | Path) -> None:
    """Print the table of the runs in these folders, and draw their picture."""
    from rich.console import Console
    from rich.table import Table

    from ..runs import compare_runs, plot_comparison

    comparison = compare_runs(runs)
    table = Table("", *map(printable, comparison.names))
    for i, column in enumerate(table.columns):
        column.justify = "left" if i == 0 else "right"
        column.overflow = "fold"
    for name, shown in comparison.rows.items():
        values = [printable(value) for value in shown]
        cells = [f"[bold]{v}[/]" if "validation" in name and i == comparison.best else v for i, v in enumerate(values)]
        table.add_row(printable(name), *cells)
    Console().print(table)
    say(f"picture     {plot_comparison(comparison, picture)}")
