"""``minitrain fit-scaling``: a scaling law from runs of several sizes."""

from __future__ import annotations

from collections.abc import Sequence

from ..arguments import Parser
from ..failures import say

PICTURE = "scaling.png"
_EPILOG = """\
The loss is the last one on the held-out text. Runs should differ in nothing but their sizes, and each should be trained
to the end of its schedule.

examples:
  minitrain train --multirun model.n_embd=32,64,128,256 trainer.max_steps=250,500,1000
  minitrain fit-scaling runs/sweep-20250102-030405
  minitrain fit-scaling runs/small runs/middle runs/large --out law.png"""


def run(argv: Sequence[str]) -> int:
    """Fit a law to the runs that ``argv`` names; returns the exit code."""
    parser = Parser("fit-scaling", description="How the loss falls with parameters and tokens.", epilog=_EPILOG)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs, or of sweeps")
    parser.add_argument("--out", default=PICTURE, metavar="FILE", help=f"the PNG to draw ({PICTURE})")
    arguments = parser.parse_args(argv)
    from ...folder.not_a_run import expand
    from ...runs import fit_runs

    fit = fit_runs(expand(arguments.runs))
    say(fit.describe())
    say(f"picture     {fit.plot(arguments.out)}")
    return 0
