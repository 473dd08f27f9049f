"""``minitrain eval``: how well a trained model predicts its held-out text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .arguments import Parser
from .failures import say, traceback_kept_in, warn

_EPILOG = """\
The loss is the mean over the whole held-out part of the run's text, windows side by side.
Below it stand two guesses that know nothing of what came before: by how often each token
occurs in the training text, and evenly among all tokens.

example:
  minitrain eval runs/NAME"""


def run(argv: Sequence[str]) -> int:
    """Evaluate the run that ``argv`` names; returns the exit code."""
    parser = Parser("eval", description="The loss of a trained model on its held-out text.", epilog=_EPILOG)
    parser.add_run()
    parser.add_device()
    arguments = parser.parse_args(argv)

    from ..runs import evaluate_run

    with traceback_kept_in(arguments.run):
        validation = evaluate_run(arguments.run, device=arguments.device, trusted=arguments.trust, warn=warn)
    say(validation.describe())
    print(f"perplexity {math.exp(validation.loss):.3f}: as if undecided among so many tokens each time")
    return 0
