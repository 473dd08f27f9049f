"""``minitrain plot``: the curves of a run as pictures."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import Parser
from .failures import say, traceback_kept_in
from .options.plugins import load_plugins

_EPILOG = """\
The run may still be training: the metrics so far are drawn.

example:
  minitrain plot runs/NAME"""


def run(argv: Sequence[str]) -> int:
    """Draw the run that ``argv`` names; returns the exit code."""
    description = "Draw the loss and the learning rate of a run as PNG files in its folder."
    parser = Parser("plot", description=description, epilog=_EPILOG)
    parser.add_argument("run", metavar="RUN", help="the folder of a run, such as runs/pydoc-20250102-030405")
    parser.add_plugin()
    arguments = parser.parse_args(argv)

    load_plugins(arguments.plugin)
    from ..runs import plot_run

    with traceback_kept_in(arguments.run):
        for picture in plot_run(arguments.run):
            say(str(picture))
    return 0
