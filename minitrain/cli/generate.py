"""``minitrain generate``: a trained model continues a text, shown as it writes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ..errors import CheckpointError, printable
from .arguments import Parser, UsageError
from .failures import traceback_kept_in, warn
from .options.plugins import load_plugins

_EPILOG = """\
examples:
  minitrain generate runs/NAME --prompt "The class statement"
  minitrain generate runs/NAME --temperature 0.5 --top-k 20 --seed 7
  minitrain generate runs/NAME --temperature 0            always the most likely token

The same seed gives the same text; another one gives another."""


def run(argv: Sequence[str]) -> int:
    """Let the model that ``argv`` names write; returns the exit code."""
    arguments = _parser().parse_args(argv)
    if not arguments.prompt:
        raise UsageError("--prompt is empty: give it one character or more")

    load_plugins(arguments.plugin)
    with traceback_kept_in(arguments.run):
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
    from ..backend import to_device
    from ..generation import encode_prompt, stream, text_pieces
    from ..random import Key
    from ..runs import load_run

    loaded = load_run(arguments.run, device=arguments.device, trusted=arguments.trust, warn=warn)
    model, tokenizer, config = loaded.model, loaded.tokenizer, loaded.config
    if tokenizer is None:
        raise CheckpointError(
            f"{arguments.run} was made by a Trainer in Python and has no tokenizer.json to write a text with; a "
            "language model writes with trainer.generate_text() in its script"
        )
    prompt = encode_prompt(tokenizer, arguments.prompt)[None]  # (1, T0)
    columns = stream(
        model,
        to_device(prompt, arguments.device or (config.device if config else "cpu")),
        arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        key=Key.from_seed(arguments.seed),
    )
    return text_pieces((int(column[0]) for column in columns), tokenizer, after=prompt[0].tolist())


def _parser() -> Parser:
    parser = Parser("generate", description="Let a trained model continue a text.", epilog=_EPILOG)
    parser.add_run()
    parser.add_argument("--prompt", default="\n", metavar="TEXT", help="the text to continue (a new line)")
    parser.add_argument("--max-new-tokens", type=int, default=500, metavar="N", help="tokens to write (500)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="T",
        help="below 1 more predictable, above 1 more varied, 0 the most likely token (0.8)",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="choose among the K most likely tokens")
    parser.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="choose among the most likely tokens that have share P of the probability",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers (0)")
    parser.add_plugin()
    parser.add_device()
    return parser
