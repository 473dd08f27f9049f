"""``minitrain eval``: how well a trained model predicts its held-out text, or another text."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import Parser
from .failures import say, traceback_kept_in, warn
from .options.plugins import load_plugins

_EPILOG = """\
The loss is the mean over the whole held-out part of the run's text, in windows side by side. Below it are the losses of
two guesses that do not read the text before a token: one by how often each token occurs in the training text, one with
the same probability for all tokens.

examples:
  minitrain eval runs/NAME
  minitrain eval runs/NAME --text other.txt       another text, a file or a folder"""


def run(argv: Sequence[str]) -> int:
    """Evaluate the run that ``argv`` names; returns the exit code."""
    parser = Parser(
        "eval", description="The loss of a trained model on its held-out text, or on another.", epilog=_EPILOG
    )
    parser.add_run()
    parser.add_argument("--text", metavar="FILE", help="evaluate this text; its own tokens give the guesses")
    parser.add_plugin()
    parser.add_device()
    arguments = parser.parse_args(argv)

    load_plugins(arguments.plugin)
    from ..runs import evaluate_run
    from ..trainers.base import perplexity

    with traceback_kept_in(arguments.run):
        validation = evaluate_run(
            arguments.run, text=arguments.text, device=arguments.device, trusted=arguments.trust, warn=warn
        )
    say(validation.describe())
    print(
        f"perplexity {perplexity(validation.loss):.3f}: the model is as uncertain as if it chose uniformly among this "
        "many tokens"
    )
    return 0
