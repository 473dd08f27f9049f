"""``minitrain compare``: runs side by side, in one table and one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .arguments import Parser, UsageError
from .failures import say

PICTURE = "comparison.png"

_EPILOG = """\
The picture goes into the folder that the runs have in common, such as runs/, unless --out names another place.

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
    return 0


def show_comparison(runs: Sequence[str | Path], picture: str | Path) -> None:
    """Print the table of the runs in these folders, and draw their picture."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..formats import one_line
    from ..runs import compare_runs, plot_comparison

    comparison = compare_runs(runs)
    # Names and values are the users' text, in which brackets are brackets: rich must not read them as styles.
    table = Table("")
    for run in comparison.names:
        table.add_column(Text(one_line(run)), justify="right", overflow="fold")
    for name, values in comparison.rows.items():
        cells = [
            Text(one_line(value), style="bold" if "validation" in name and i == comparison.best else "")
            for i, value in enumerate(values)
        ]
        table.add_row(Text(one_line(name)), *cells)
    Console().print(table)
    say(f"picture     {plot_comparison(comparison, picture)}")


def _picture(runs: Sequence[Path], out: str | None) -> Path:
    """Where the picture goes; a run's own folder gets none of other runs."""
    if out is not None:
        return Path(out) / PICTURE if Path(out).is_dir() else Path(out)
    common = Path(os.path.commonpath([run.resolve().parent for run in runs]))
    if common == Path.cwd() or common == Path(common.anchor):
        common = runs[0]
    return common / PICTURE
