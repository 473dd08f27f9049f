"""``minitrain generate``: a trained model continues a text, shown as it writes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ...errors import printable
from ..arguments import Parser, UsageError
from ..options.plugins import load_plugins
from .answers import print_answer
from .model import add_model, add_sampling, failures_of, open_session_of

_EPILOG = """\
examples:
  minitrain generate runs/NAME --prompt "The class statement"
  minitrain generate runs/NAME --temperature 0.5 --top-k 20 --seed 7
  minitrain generate runs/NAME --temperature 0            always the most likely token
  minitrain generate model.gguf --weights int8            a GGUF file, or a folder of transformers
  minitrain generate runs/NAME --prompt "minitrain"       what an encoder-decoder makes of it

The same seed gives the same text; another one gives another."""


def run(argv: Sequence[str]) -> int:
    """Let the model that ``argv`` names write; returns the exit code."""
    arguments = _parser().parse_args(argv)
    if not arguments.prompt:
        raise UsageError("--prompt is empty: give it one character or more")

    load_plugins(arguments.plugin)
    with failures_of(arguments.run):
        if print_answer(arguments):
            return 0
        pieces = _write(arguments)
        print(printable(arguments.prompt), end="", flush=True)
        try:
            for piece in pieces:
                print(printable(piece), end="", flush=True)
        finally:
            print()
    return 0


def _write(arguments: argparse.Namespace) -> Iterator[str]:
    """The text that follows the prompt, piece by piece."""
    from ...generation import TextGenerator

    session, opened = open_session_of(arguments)
    return TextGenerator(session, opened.tokenizer).stream(
        arguments.prompt,
        arguments.max_new_tokens,
        arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        seed=arguments.seed,
    )


def _parser() -> Parser:
    parser = Parser("generate", description="Let a trained model continue a text.", epilog=_EPILOG)
    add_model(parser)
    parser.add_argument("--prompt", default="\n", metavar="TEXT", help="the text to continue (a new line)")
    add_sampling(parser, tokens=500)
    parser.add_plugin()
    parser.add_device()
    return parser
