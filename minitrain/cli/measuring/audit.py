"""``minitrain audit``: what a trained model remembers of its training text."""

from __future__ import annotations

from collections.abc import Sequence

from ..arguments import Parser
from ..failures import say, traceback_kept_in, warn
from ..options.plugins import load_plugins

_EPILOG = """\
Three measurements: how exposed the canaries are that data.canaries=N planted in the training text; how much of the
training text the model writes on word for word, next to held-out text; and how well its loss tells one from the other.
The folder of the run gets audit.json, and its report a section.

examples:
  minitrain train data.path=notes.txt data.canaries=8 data.canary_repeats=4
  minitrain audit runs/NAME
  minitrain audit runs/NAME --attempts 1000"""


def run(argv: Sequence[str]) -> int:
    """Audit the run that ``argv`` names; returns the exit code."""
    parser = Parser("audit", description="What a model remembers of its training text.", epilog=_EPILOG)
    parser.add_argument("run", metavar="RUN", help="the folder of a run, such as runs/pydoc-20250102-030405")
    parser.add_trust()
    for name, default, purpose in (
        ("attempts", 100, "places of each text where an extraction is tried"),
        ("windows", 1000, "windows of each text for membership, at most"),
        ("others", 1023, "other secrets that each canary is compared with"),
        ("samples", 4, "samples of each prefix"),
        ("seed", 0, "seed of all choices"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{purpose} ({default})")
    parser.add_plugin()
    parser.add_device()
    arguments = parser.parse_args(argv)

    load_plugins(arguments.plugin)
    from ...audit import audit_run

    with traceback_kept_in(arguments.run):
        audit = audit_run(
            arguments.run,
            attempts=arguments.attempts,
            windows=arguments.windows,
            others=arguments.others,
            samples=arguments.samples,
            device=arguments.device,
            trusted=arguments.trust,
            seed=arguments.seed,
            warn=warn,
        )
        say(audit.describe())
    return 0
